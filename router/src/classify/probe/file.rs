//! The file of a head.
//!
//! `SLUICEHD`, the SHA-256 of what follows, then one gzip stream: the length of a JSON header, the header (what the head
//! is, what it was made from, how its parts are mixed), and the parts' weights as numbers in little-endian order.
//! The digest is checked before anything is unpacked, lengths before anything is reserved; a head that was made for
//! other features or by a later Sluice is refused by name.

use super::head::{Head, Header};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use std::io::{Read, Write};

const MAGIC: &[u8; 8] = b"SLUICEHD";
/// The version of the format.
pub const FORMAT: u32 = 1;
/// The most a head may unpack to.
const MOST: u64 = 64 << 20;

/// Why a head cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It is something else.
    #[error("this is not a head: it does not start with SLUICEHD")]
    NotAHead,
    /// It was changed or cut.
    #[error("the head is damaged: its digest is {found}, not {stated}")]
    Digest {
        /// What the file says.
        stated: String,
        /// What its bytes give.
        found: String,
    },
    /// It was made by a later version.
    #[error("the head has format {0}; this version reads format {FORMAT}")]
    Format(u32),
    /// It was trained on other features.
    #[error("the head was trained on other features (`{0}`): train it again")]
    Features(String),
    /// It contradicts itself.
    #[error("the head contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// It cannot be unpacked.
    #[error("the head cannot be unpacked")]
    Unpack(#[source] std::io::Error),
    /// Its header is not what it should be.
    #[error("the head's header cannot be read: {0}")]
    Header(#[from] serde_json::Error),
}

/// Bytes being written.
#[derive(Default)]
pub struct Blob(pub Vec<u8>);

/// Bytes being read.
pub struct Take<'a>(&'a [u8]);

// === impl Blob ===

impl Blob {
    pub(super) fn f32(&mut self, value: f32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.0.extend(bytes);
    }
}

// === impl Take ===

impl<'a> Take<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], HeadError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(HeadError::Inconsistent("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], HeadError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(super) fn f32(&mut self) -> Result<f32, HeadError> {
        let value = f32::from_le_bytes(self.array()?);
        if value.is_finite() { Ok(value) } else { Err(HeadError::Inconsistent("a weight is not a number")) }
    }

    pub(super) fn u32(&mut self) -> Result<u32, HeadError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, HeadError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn many<T>(
        &mut self,
        count: usize,
        one: impl Fn(&mut Self) -> Result<T, HeadError>,
    ) -> Result<Vec<T>, HeadError> {
        // Not reserved in advance: the count is what the file claims.
        (0..count).map(|_| one(self)).collect()
    }
}

/// Writes a head; the same head gives the same bytes.
pub fn write(head: &Head) -> Result<Vec<u8>, HeadError> {
    let header = serde_json::to_vec(&head.header)?;
    let mut plain = Blob::default();
    plain.u32(header.len() as u32);
    plain.bytes(header);
    head.store(&mut plain);
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&plain.0).map_err(HeadError::Unpack)?;
    let packed = packer.finish().map_err(HeadError::Unpack)?;
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&Sha256::digest(&packed));
    file.extend_from_slice(&packed);
    Ok(file)
}

/// Reads a head and checks it.
pub fn read(file: &[u8]) -> Result<Head, HeadError> {
    let rest = file.strip_prefix(MAGIC).ok_or(HeadError::NotAHead)?;
    let (stated, packed) = rest.split_at_checked(32).ok_or(HeadError::NotAHead)?;
    let found = Sha256::digest(packed);
    if stated != found.as_slice() {
        return Err(HeadError::Digest { stated: hex::encode(stated), found: hex::encode(found) });
    }
    let mut plain = Vec::new();
    GzDecoder::new(packed).take(MOST).read_to_end(&mut plain).map_err(HeadError::Unpack)?;
    let mut take = Take::new(&plain);
    let length = take.u32()? as usize;
    let header: Header = serde_json::from_slice(take.bytes(length)?)?;
    if header.format != FORMAT {
        return Err(HeadError::Format(header.format));
    }
    Head::load(header, &mut take, hex::encode(found))
}
