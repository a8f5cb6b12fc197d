//! The header of a GGUF file: what is in it, and whether all of it is there.
//!
//! **Promise.** A file that mistral.rs would panic on because it is cut short or is no GGUF at all is refused here, with
//! a sentence that says what is wrong; and the parts of the header are known well enough to write the file anew with
//! other tensor types ([`super::convert`]).
//!
//! **Failure behaviour.** Lengths in the file are not trusted: none is allocated before it was compared with the size of
//! the file, and all sums are checked.
//!
//! **What it does not do.** It reads no weights; version 1 (32-bit lengths, 2023) is refused. Source: the GGUF
//! specification (ggml repository, `docs/gguf.md`).

use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::Path;

/// Default alignment of tensor data.
const ALIGNMENT: u64 = 32;
/// The longest text in a header that is read (a chat template; vocabularies are skipped one entry at a time).
const LONGEST_TEXT: u64 = 16 << 20;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum GgufError {
    /// It cannot be read at all.
    #[error("cannot read `{0}`: {1}")]
    Io(String, std::io::Error),
    /// It is something else.
    #[error("`{0}` is not a GGUF file")]
    NotGguf(String),
    /// It ends before its time.
    #[error("`{file}` is truncated: it has {has} bytes and needs at least {needs}")]
    Truncated {
        /// Its path.
        file: String,
        /// Its size.
        has: u64,
        /// What its header says.
        needs: u64,
    },
    /// Its header makes no sense.
    #[error("`{0}` is damaged: {1}")]
    Damaged(String, &'static str),
    /// It is right, but nothing here can use it.
    #[error("`{0}` cannot be used: {1}")]
    Unsupported(String, String),
}

/// How the numbers of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// The id in the file.
    pub(super) id: u32,
    /// Numbers in a block.
    pub(super) block: u64,
    /// Bytes of a block.
    pub(super) bytes: u64,
}

/// A tensor as the header names it.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    /// Fastest first, as in the file.
    pub(super) dims: Vec<u64>,
    pub(super) kind: Kind,
    /// From the start of the data.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) len: u64,
}

/// What a header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) architecture: String,
    pub(super) context_length: Option<u64>,
    pub(super) add_bos: Option<bool>,
    pub(super) alignment: u64,
    /// Number of key-value pairs, and where they stand.
    pub(super) pairs: u64,
    pub(super) pairs_at: Range<u64>,
    pub(super) tensors: Vec<Tensor>,
    pub(super) data_at: u64,
}

struct Reader {
    inner: BufReader<File>,
    at: u64,
    size: u64,
    file: String,
}

enum Scalar {
    Text(String),
    Number(u64),
    Flag(bool),
    Other,
}

/// Reads the header and compares its extents with the file's size.
pub(super) fn read(path: &Path) -> Result<Header, GgufError> {
    let file = path.display().to_string();
    let opened = File::open(path).map_err(|error| GgufError::Io(file.clone(), error))?;
    let size = opened.metadata().map_err(|error| GgufError::Io(file.clone(), error))?.len();
    let mut reader = Reader { inner: BufReader::with_capacity(1 << 16, opened), at: 0, size, file };
    if size < 4 || &reader.bytes::<4>()? != b"GGUF" {
        return Err(GgufError::NotGguf(reader.file));
    }
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(reader.unsupported(format!("GGUF version {version}; 2 and 3 are read")));
    }
    let (count, pairs) = (reader.u64()?, reader.u64()?);
    let mut header = Header {
        version,
        architecture: String::new(),
        context_length: None,
        add_bos: None,
        alignment: ALIGNMENT,
        pairs,
        pairs_at: reader.at..reader.at,
        tensors: Vec::new(),
        data_at: 0,
    };
    for _ in 0..pairs {
        let key = reader.text()?;
        let kind = reader.u32()?;
        let value = reader.value(kind)?;
        header.note(&key, value);
    }
    header.pairs_at.end = reader.at;
    for _ in 0..count {
        let tensor = reader.tensor()?;
        header.tensors.push(tensor);
    }
    if header.tensors.is_empty() || header.architecture.is_empty() {
        return Err(GgufError::Damaged(reader.file, "it names no tensors or no architecture"));
    }
    if !header.alignment.is_power_of_two() {
        return Err(GgufError::Damaged(reader.file, "its alignment is no power of two"));
    }
    header.data_at = reader.at.next_multiple_of(header.alignment);
    let ends = header.tensors.iter().map(|tensor| tensor.offset.checked_add(tensor.len)?.checked_add(header.data_at));
    match ends.collect::<Option<Vec<u64>>>().and_then(|ends| ends.into_iter().max()) {
        None => Err(GgufError::Damaged(reader.file, "a tensor lies beyond any file")),
        Some(needs) if needs > size => Err(GgufError::Truncated { file: reader.file, has: size, needs }),
        Some(_) => Ok(header),
    }
}

// === impl Kind ===

impl Kind {
    pub(super) const F32: Self = Self { id: 0, block: 1, bytes: 4 };
    pub(super) const F16: Self = Self { id: 1, block: 1, bytes: 2 };
    pub(super) const Q4_0: Self = Self { id: 2, block: 32, bytes: 18 };
    pub(super) const Q4_1: Self = Self { id: 3, block: 32, bytes: 20 };
    pub(super) const Q5_0: Self = Self { id: 6, block: 32, bytes: 22 };
    pub(super) const Q5_1: Self = Self { id: 7, block: 32, bytes: 24 };
    pub(super) const Q8_0: Self = Self { id: 8, block: 32, bytes: 34 };
    pub(super) const Q4K: Self = Self { id: 12, block: 256, bytes: 144 };
    pub(super) const Q6K: Self = Self { id: 14, block: 256, bytes: 210 };
    pub(super) const BF16: Self = Self { id: 30, block: 1, bytes: 2 };
    /// All that candle reads.
    const ALL: [Self; 15] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self { id: 9, block: 32, bytes: 36 },
        Self { id: 10, block: 256, bytes: 84 },
        Self { id: 11, block: 256, bytes: 110 },
        Self::Q4K,
        Self { id: 13, block: 256, bytes: 176 },
        Self::Q6K,
        Self { id: 15, block: 256, bytes: 292 },
        Self::BF16,
    ];

    /// Bytes of so many numbers; `None` where they fill no whole block.
    pub(super) fn len_of(self, numbers: u64) -> Option<u64> {
        numbers.is_multiple_of(self.block).then(|| (numbers / self.block).checked_mul(self.bytes)).flatten()
    }
}

// === impl Tensor ===

impl Tensor {
    /// How many numbers it has.
    pub(super) fn numbers(&self) -> u64 {
        self.dims.iter().product()
    }
}

// === impl Header ===

impl Header {
    fn note(&mut self, key: &str, value: Scalar) {
        match (key, value) {
            ("general.architecture", Scalar::Text(name)) => self.architecture = name,
            ("general.alignment", Scalar::Number(alignment)) => self.alignment = alignment,
            ("tokenizer.ggml.add_bos_token", Scalar::Flag(add)) => self.add_bos = Some(add),
            (key, Scalar::Number(length)) if key.ends_with(".context_length") => self.context_length = Some(length),
            (_, _) => {}
        }
    }
}

// === impl Reader ===

impl Reader {
    fn unsupported(&self, why: String) -> GgufError {
        GgufError::Unsupported(self.file.clone(), why)
    }

    fn need(&self, more: u64) -> Result<(), GgufError> {
        let needs = self.at.saturating_add(more);
        if needs > self.size {
            return Err(GgufError::Truncated { file: self.file.clone(), has: self.size, needs });
        }
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], GgufError> {
        self.need(N as u64)?;
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|error| GgufError::Io(self.file.clone(), error))?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn skip(&mut self, len: u64) -> Result<(), GgufError> {
        self.need(len)?;
        let by = i64::try_from(len).map_err(|_| GgufError::Damaged(self.file.clone(), "a length is out of range"))?;
        self.inner.seek_relative(by).map_err(|error| GgufError::Io(self.file.clone(), error))?;
        self.at += len;
        Ok(())
    }

    fn u32(&mut self) -> Result<u32, GgufError> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, GgufError> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, GgufError> {
        let len = self.u64()?;
        self.need(len)?;
        if len > LONGEST_TEXT {
            return Err(GgufError::Damaged(self.file.clone(), "a text in its header is too long"));
        }
        let mut text = vec![0; len as usize];
        self.inner.read_exact(&mut text).map_err(|error| GgufError::Io(self.file.clone(), error))?;
        self.at += len;
        String::from_utf8(text).map_err(|_| GgufError::Damaged(self.file.clone(), "a text in its header is not UTF-8"))
    }

    fn value(&mut self, kind: u32) -> Result<Scalar, GgufError> {
        Ok(match kind {
            0 | 1 => Scalar::Number(u64::from(self.bytes::<1>()?[0])),
            2 | 3 => Scalar::Number(u64::from(u16::from_le_bytes(self.bytes()?))),
            4 | 5 => Scalar::Number(u64::from(self.u32()?)),
            7 => Scalar::Flag(self.bytes::<1>()?[0] != 0),
            8 => Scalar::Text(self.text()?),
            9 => {
                let (inner, count) = (self.u32()?, self.u64()?);
                match width(inner) {
                    Some(width) => self.skip(count.saturating_mul(width))?,
                    None if inner == 8 => {
                        for _ in 0..count {
                            let len = self.u64()?;
                            self.skip(len)?;
                        }
                    }
                    None => return Err(GgufError::Damaged(self.file.clone(), "a list of lists in its header")),
                }
                Scalar::Other
            }
            10 | 11 => Scalar::Number(self.u64()?),
            6 => {
                self.skip(4)?;
                Scalar::Other
            }
            12 => {
                self.skip(8)?;
                Scalar::Other
            }
            _ => return Err(GgufError::Damaged(self.file.clone(), "an unknown type in its header")),
        })
    }

    fn tensor(&mut self) -> Result<Tensor, GgufError> {
        let name = self.text()?;
        let rank = self.u32()?;
        if rank > 4 {
            return Err(GgufError::Damaged(self.file.clone(), "a tensor with more than four dimensions"));
        }
        let dims = (0..rank).map(|_| self.u64()).collect::<Result<Vec<_>, _>>()?;
        let (id, offset) = (self.u32()?, self.u64()?);
        let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.id == id) else {
            return Err(
                self.unsupported(format!("tensor `{name}` is stored as type {id}, which the engine cannot read"))
            );
        };
        let numbers = dims.iter().try_fold(1u64, |product, dim| product.checked_mul(*dim));
        match numbers.and_then(|numbers| kind.len_of(numbers)) {
            Some(len) => Ok(Tensor { name, dims, kind, offset, len }),
            None => Err(GgufError::Damaged(self.file.clone(), "the shape of a tensor does not fit its type")),
        }
    }
}

/// Bytes of a value of fixed width.
fn width(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A small file with one tensor of 32 by 2 numbers.
    pub(in super::super) fn small(kind: Kind, data: &[u8]) -> Vec<u8> {
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u64).to_le_bytes());
            out.extend(text.as_bytes());
        };
        let mut out = b"GGUF".to_vec();
        out.extend(3u32.to_le_bytes());
        out.extend(1u64.to_le_bytes());
        out.extend(3u64.to_le_bytes());
        text(&mut out, "general.architecture");
        out.extend(8u32.to_le_bytes());
        text(&mut out, "llama");
        text(&mut out, "llama.context_length");
        out.extend(4u32.to_le_bytes());
        out.extend(2048u32.to_le_bytes());
        text(&mut out, "tokenizer.ggml.tokens");
        out.extend(9u32.to_le_bytes());
        out.extend(8u32.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        text(&mut out, "a");
        text(&mut out, "b");
        text(&mut out, "blk.0.weight");
        out.extend(2u32.to_le_bytes());
        out.extend(32u64.to_le_bytes());
        out.extend(2u64.to_le_bytes());
        out.extend(kind.id.to_le_bytes());
        out.extend(0u64.to_le_bytes());
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }

    fn read_bytes(bytes: &[u8]) -> Result<Header, GgufError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        read(file.path())
    }

    #[test]
    fn a_whole_file_is_understood() {
        let header = read_bytes(&small(Kind::Q4_1, &[0; 40])).unwrap();
        assert_eq!((header.architecture.as_str(), header.context_length), ("llama", Some(2048)));
        assert_eq!((header.tensors[0].len, header.tensors[0].numbers()), (40, 64));
    }

    #[test]
    fn every_truncation_is_an_error_and_never_a_panic() {
        let whole = small(Kind::Q4_1, &[0; 40]);
        for len in 0..whole.len() {
            let error = read_bytes(&whole[..len]).unwrap_err();
            assert!(matches!(error, GgufError::Truncated { .. } | GgufError::NotGguf(_)), "{len}: {error}");
        }
    }

    #[test]
    fn flipped_bits_never_panic() {
        let whole = small(Kind::Q4_1, &[0; 40]);
        for at in 0..whole.len() {
            for bit in [0x01, 0x80] {
                let mut bent = whole.clone();
                bent[at] ^= bit;
                drop(read_bytes(&bent));
            }
        }
    }
}
