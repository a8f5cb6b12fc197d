//! Writing a GGUF file anew with tensor types that are fast here, once.
//!
//! **Promise.** The converted file stands in the cache under a name that carries the digest of the source, the kind and
//! [`VERSION`]; it is reused at the next start and appears only when it is whole. The header's key-value pairs are copied
//! byte for byte.
//!
//! **Why.** Candle has SIMD kernels for Q4_0, Q8_0 and the K-quants, but none for Q4_1, Q5_0 and Q5_1, and its F16 and BF16
//! products convert each weight on the way: at 135 million parameters Q8_0 decodes half as fast again as the Q4_1 it was made from
//! (docs/local-speed.md). Rounding to eight bits a value that was kept in four or five costs next to nothing. Matrices of
//! 32 bits ([`Quantize::Dense`]) are multiplied by another library, which reads long prompts faster; kept on disk so, each
//! model chooses for itself, which candle's own switch (`CANDLE_DEQUANTIZE_ALL`) does not allow.
//!
//! **Failure behaviour.** Without room on the disk the source is loaded as it is, with a warning.

use super::gguf::{self, Header, Kind, Tensor};
use super::spec::Quantize;
use super::store::{digest, settle};
use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Changes when the same source would be written differently.
const VERSION: u32 = 1;
/// Files up to this size are named by the digest of all their bytes; larger ones by their size and samples.
const WHOLE_DIGEST: u64 = 2 << 30;
/// Bytes of a sample.
const SAMPLE: u64 = 1 << 20;

/// What goes into the new file in place of a tensor, if anything.
fn target(tensor: &Tensor, quantize: Quantize) -> Option<Kind> {
    let matrix = tensor.dims.len() >= 2 && tensor.name.ends_with(".weight");
    let row = tensor.dims.first().filter(|_| matrix)?;
    let slow = [Kind::Q4_1, Kind::Q5_0, Kind::Q5_1, Kind::F16, Kind::BF16].contains(&tensor.kind);
    let wanted = match quantize {
        Quantize::Off => return None,
        Quantize::Auto if !slow => return None,
        Quantize::Auto | Quantize::Q8_0 => Kind::Q8_0,
        Quantize::Q4_0 => Kind::Q4_0,
        Quantize::Q4K => Kind::Q4K,
        Quantize::Q6K => Kind::Q6K,
        Quantize::Dense => Kind::F32,
    };
    let fits = [wanted, Kind::Q8_0].into_iter().find(|kind| row.is_multiple_of(kind.block))?;
    (fits != tensor.kind).then_some(fits)
}

/// The file to load for a source: itself, or a converted copy in the cache. `progress` hears the share done.
///
/// # Errors
/// Damage of the source. A full or read-only disk is no error: the source is used.
pub(super) fn convert(
    source: &Path,
    quantize: Quantize,
    cache: &Path,
    progress: &dyn Fn(f32),
) -> Result<PathBuf, String> {
    let header = gguf::read(source).map_err(|error| error.to_string())?;
    if header.tensors.iter().all(|tensor| target(tensor, quantize).is_none()) {
        return Ok(source.to_owned());
    }
    let name = source.file_stem().and_then(|stem| stem.to_str()).unwrap_or("model");
    let print = fingerprint(source).map_err(|error| error.to_string())?;
    let folder = cache.join("converted");
    let to = folder.join(format!("{name}.{}-{}-v{VERSION}.gguf", &print[..16], quantize.word()));
    if gguf::read(&to).is_ok() {
        return Ok(to);
    }
    let temporary = folder.join(format!(".{}-{}.tmp", &print[..16], std::process::id()));
    let written = std::fs::create_dir_all(&folder)
        .map_err(|error| error.to_string())
        .and_then(|()| write(source, &header, quantize, &temporary, progress))
        .and_then(|()| settle(&temporary, &to).map_err(|error| error.to_string()));
    match written {
        Ok(()) => Ok(to),
        Err(error) => {
            tracing::warn!(%error, "cannot keep a converted copy of the model; the original is slower");
            drop(std::fs::remove_file(&temporary));
            Ok(source.to_owned())
        }
    }
}

fn write(source: &Path, header: &Header, quantize: Quantize, to: &Path, progress: &dyn Fn(f32)) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut from = BufReader::new(File::open(source).map_err(text)?);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(to).map_err(text)?);
    let kinds: Vec<Kind> =
        header.tensors.iter().map(|tensor| target(tensor, quantize).unwrap_or(tensor.kind)).collect();
    let lens: Vec<u64> = header
        .tensors
        .iter()
        .zip(&kinds)
        .map(|(tensor, kind)| kind.len_of(tensor.numbers()).unwrap_or(tensor.len))
        .collect();

    out.write_all(b"GGUF").map_err(text)?;
    out.write_all(&header.version.to_le_bytes()).map_err(text)?;
    out.write_all(&(header.tensors.len() as u64).to_le_bytes()).map_err(text)?;
    out.write_all(&header.pairs.to_le_bytes()).map_err(text)?;
    from.seek(SeekFrom::Start(header.pairs_at.start)).map_err(text)?;
    std::io::copy(&mut (&mut from).take(header.pairs_at.end - header.pairs_at.start), &mut out).map_err(text)?;
    let mut offset = 0u64;
    for ((tensor, kind), len) in header.tensors.iter().zip(&kinds).zip(&lens) {
        out.write_all(&(tensor.name.len() as u64).to_le_bytes()).map_err(text)?;
        out.write_all(tensor.name.as_bytes()).map_err(text)?;
        out.write_all(&(tensor.dims.len() as u32).to_le_bytes()).map_err(text)?;
        for dim in &tensor.dims {
            out.write_all(&dim.to_le_bytes()).map_err(text)?;
        }
        out.write_all(&kind.id.to_le_bytes()).map_err(text)?;
        out.write_all(&offset.to_le_bytes()).map_err(text)?;
        offset = (offset + len).next_multiple_of(header.alignment);
    }
    let total: u64 = header.tensors.iter().map(|tensor| tensor.len).sum();
    let mut done = 0u64;
    for (tensor, kind) in header.tensors.iter().zip(&kinds) {
        let at = out.stream_position().map_err(text)?;
        let gap = (at.next_multiple_of(header.alignment) - at) as usize;
        out.write_all(&vec![0; gap]).map_err(text)?;
        let mut data = vec![0; tensor.len as usize];
        from.seek(SeekFrom::Start(header.data_at + tensor.offset)).map_err(text)?;
        from.read_exact(&mut data).map_err(text)?;
        if *kind != tensor.kind {
            data = rewrite(&data, tensor, *kind).map_err(|error| error.to_string())?;
        }
        out.write_all(&data).map_err(text)?;
        done += tensor.len;
        progress(done as f32 / total.max(1) as f32);
    }
    out.flush().map_err(text)
}

fn rewrite(data: &[u8], tensor: &Tensor, kind: Kind) -> candle_core::Result<Vec<u8>> {
    let (Some(from), Some(to)) = (dtype(tensor.kind), dtype(kind)) else {
        return Err(candle_core::Error::Msg(format!("cannot convert tensor `{}`", tensor.name)));
    };
    let shape: Vec<usize> = tensor.dims.iter().rev().map(|dim| *dim as usize).collect();
    // Borrowed, never owned: candle 0.10 drops owned bytes before it copies them.
    let storage = QStorage::from_data(Cow::Borrowed(data), &Device::Cpu, from)?;
    let numbers = QTensor::new(storage, shape)?.dequantize(&Device::Cpu)?;
    Ok(QTensor::quantize(&numbers, to)?.data()?.into_owned())
}

fn dtype(kind: Kind) -> Option<GgmlDType> {
    [
        (Kind::F32, GgmlDType::F32),
        (Kind::F16, GgmlDType::F16),
        (Kind::BF16, GgmlDType::BF16),
        (Kind::Q4_0, GgmlDType::Q4_0),
        (Kind::Q4_1, GgmlDType::Q4_1),
        (Kind::Q5_0, GgmlDType::Q5_0),
        (Kind::Q5_1, GgmlDType::Q5_1),
        (Kind::Q8_0, GgmlDType::Q8_0),
        (Kind::Q4K, GgmlDType::Q4K),
        (Kind::Q6K, GgmlDType::Q6K),
    ]
    .into_iter()
    .find_map(|(known, dtype)| (known == kind).then_some(dtype))
}

/// What names a file: the digest of its bytes, or of its size and samples where reading it all would take long.
pub(super) fn fingerprint(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if size <= WHOLE_DIGEST {
        return digest(path, &|_| {}).map_err(std::io::Error::other);
    }
    let mut hasher = Sha256::new();
    hasher.update(size.to_le_bytes());
    let mut sample = vec![0; SAMPLE as usize];
    for part in 0..64 {
        file.seek(SeekFrom::Start((size - SAMPLE) / 63 * part))?;
        file.read_exact(&mut sample)?;
        hasher.update(&sample);
    }
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::gguf::tests::small;

    #[test]
    fn slow_kinds_are_rewritten_once_and_keep_their_values() {
        let cache = tempfile::tempdir().unwrap();
        let numbers: Vec<f32> = (0..64).map(|n| n as f32 / 8.0).collect();
        let tensor = candle_core::Tensor::from_vec(numbers, (2, 32), &Device::Cpu).unwrap();
        let q4 = QTensor::quantize(&tensor, GgmlDType::Q4_1).unwrap();
        let source = cache.path().join("m.gguf");
        std::fs::write(&source, small(Kind::Q4_1, &q4.data().unwrap())).unwrap();
        let made = convert(&source, Quantize::Auto, cache.path(), &|_| {}).unwrap();
        assert_ne!(made, source);
        let header = gguf::read(&made).unwrap();
        assert_eq!((header.tensors[0].kind, header.architecture.as_str()), (Kind::Q8_0, "llama"));
        let mut file = File::open(&made).unwrap();
        let content = candle_core::quantized::gguf_file::Content::read(&mut file).unwrap();
        let read = content.tensor(&mut file, "blk.0.weight", &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        let (new, old) =
            (read.to_vec2::<f32>().unwrap(), q4.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap());
        for (new, old) in new.concat().iter().zip(old.concat()) {
            assert!((new - old).abs() < 0.05, "{new} {old}");
        }
        assert_eq!(convert(&made, Quantize::Auto, cache.path(), &|_| {}).unwrap(), made);
        assert_eq!(convert(&source, Quantize::Off, cache.path(), &|_| {}).unwrap(), source);

        // Dense is what the blocks say, to the bit.
        let made = convert(&source, Quantize::Dense, cache.path(), &|_| {}).unwrap();
        assert_eq!(gguf::read(&made).unwrap().tensors[0].kind, Kind::F32);
        let mut file = File::open(&made).unwrap();
        let content = candle_core::quantized::gguf_file::Content::read(&mut file).unwrap();
        let read = content.tensor(&mut file, "blk.0.weight", &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        assert_eq!(read.to_vec2::<f32>().unwrap(), q4.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap());
    }
}
