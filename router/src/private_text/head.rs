//! The heads' file: three logistic regressions, how their values become probabilities, and from where on they count.
//!
//! `SLUICEPT`, the SHA-256 of what follows, then one gzip stream: the length of a JSON header, the header, then for each kind
//! the weights of the first columns as F32 in little-endian order and those of the pieces as one signed byte each, times the
//! kind's scale. The digest is checked before anything is unpacked; heads that were made for other features are refused.

use super::Kind;
use super::features::{MADE, WIDTH, fingerprint};
use super::grams::BUCKETS;
use crate::classify::encoder::DIMENSIONS;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};

const MAGIC: &[u8; 8] = b"SLUICEPT";
/// The most that heads may unpack to, in bytes.
const MOST: u64 = 1 << 20;
/// Columns whose weights are kept as they are.
const EXACT: usize = DIMENSIONS + MADE;

/// Why heads cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// It is something else, or damaged.
    #[error("these are no heads for free text, or they are damaged")]
    Damaged,
    /// They were trained on other features.
    #[error("the heads were trained on other features (`{0}`): train them again")]
    Features(String),
    /// They cannot be unpacked or packed.
    #[error("the heads cannot be unpacked")]
    Unpack(#[from] std::io::Error),
    /// Their header is not what it should be.
    #[error("the heads' header cannot be read: {0}")]
    Header(#[from] serde_json::Error),
}

/// What they were made from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// SHA-256 of the training windows and their labels.
    pub windows_sha256: String,
    /// How many there were.
    pub windows: usize,
    /// The seed of the generator.
    pub seed: u64,
}

/// How a value becomes a probability, and from where on it counts (Platt: Probabilistic outputs for support vector machines,
/// 1999).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Times the value.
    pub slope: f32,
    /// And this added.
    pub shift: f32,
    /// The least probability that counts where nothing else is configured.
    pub threshold: f32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    features: String,
    provenance: Provenance,
    calibration: [Calibration; 3],
    biases: [f32; 3],
    scales: [f32; 3],
}

/// The weights of one kind.
#[derive(Clone, Debug, PartialEq)]
struct Weights {
    bias: f32,
    exact: Vec<f32>,
    scale: f32,
    pieces: Vec<i8>,
}

/// One head for each kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Heads {
    /// What they were made from.
    pub provenance: Provenance,
    /// Of each kind, in the order of [`Kind::ALL`].
    pub calibration: [Calibration; 3],
    weights: [Weights; 3],
}

// === impl Calibration ===

impl Calibration {
    /// The probability that a value stands for.
    pub fn probability(&self, value: f32) -> f32 {
        1.0 / (1.0 + (-(self.slope * value + self.shift)).exp())
    }
}

// === impl Weights ===

impl Weights {
    fn quantised(weights: &[f32], bias: f32) -> Self {
        let (exact, pieces) = weights.split_at(EXACT.min(weights.len()));
        let largest = pieces.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
        let scale = if largest > 0.0 { largest / 127.0 } else { 1.0 };
        let pieces = pieces.iter().map(|weight| (weight / scale).round() as i8).collect();
        Self { bias, exact: exact.to_vec(), scale, pieces }
    }

    fn value(&self, row: &[(u32, f32)]) -> f32 {
        let weight = |column: usize| match column.checked_sub(EXACT) {
            None => self.exact.get(column).copied(),
            Some(piece) => self.pieces.get(piece).map(|weight| f32::from(*weight) * self.scale),
        };
        self.bias + row.iter().map(|(column, value)| weight(*column as usize).unwrap_or(0.0) * value).sum::<f32>()
    }
}

// === impl Heads ===

impl Heads {
    /// Of fitted weights and biases, [`WIDTH`] a kind; pieces lose all but seven bits.
    pub fn new(fitted: [(&[f32], f32); 3], calibration: [Calibration; 3], provenance: Provenance) -> Self {
        let weights = fitted.map(|(weights, bias)| {
            debug_assert_eq!(weights.len(), WIDTH);
            Weights::quantised(weights, bias)
        });
        Self { provenance, calibration, weights }
    }

    /// The value (log-odds, not calibrated) of a row for a kind.
    pub fn value(&self, kind: Kind, row: &[(u32, f32)]) -> f32 {
        self.weights[kind.place()].value(row)
    }

    /// The probabilities of a row, in the order of [`Kind::ALL`].
    pub fn probabilities(&self, row: &[(u32, f32)]) -> [f32; 3] {
        Kind::ALL.map(|kind| self.calibration[kind.place()].probability(self.value(kind, row)))
    }

    /// The file's bytes; the same heads give the same.
    ///
    /// # Errors
    /// It cannot be packed.
    pub fn write(&self) -> Result<Vec<u8>, HeadError> {
        let header = serde_json::to_vec(&Header {
            features: fingerprint(),
            provenance: self.provenance.clone(),
            calibration: self.calibration,
            biases: self.weights.each_ref().map(|weights| weights.bias),
            scales: self.weights.each_ref().map(|weights| weights.scale),
        })?;
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(&(header.len() as u32).to_le_bytes())?;
        packer.write_all(&header)?;
        for weights in &self.weights {
            for weight in &weights.exact {
                packer.write_all(&weight.to_le_bytes())?;
            }
            let pieces: Vec<u8> = weights.pieces.iter().map(|weight| weight.to_le_bytes()[0]).collect();
            packer.write_all(&pieces)?;
        }
        let packed = packer.finish()?;
        Ok([MAGIC.as_slice(), Sha256::digest(&packed).as_slice(), packed.as_slice()].concat())
    }

    /// Reads a file and checks it.
    ///
    /// # Errors
    /// It is no such file, damaged, or made for other features.
    pub fn read(file: &[u8]) -> Result<Self, HeadError> {
        let rest = file.strip_prefix(MAGIC).ok_or(HeadError::Damaged)?;
        let (stated, packed) = rest.split_at_checked(32).ok_or(HeadError::Damaged)?;
        if Sha256::digest(packed).as_slice() != stated {
            return Err(HeadError::Damaged);
        }
        let mut plain = Vec::new();
        GzDecoder::new(packed).take(MOST).read_to_end(&mut plain)?;
        let (length, rest) = plain.split_first_chunk::<4>().ok_or(HeadError::Damaged)?;
        let (header, mut rest) =
            rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or(HeadError::Damaged)?;
        let header: Header = serde_json::from_slice(header)?;
        if header.features != fingerprint() {
            return Err(HeadError::Features(header.features));
        }
        let mut weights = Vec::with_capacity(3);
        for kind in Kind::ALL {
            let (exact, after) = rest.split_at_checked(4 * EXACT).ok_or(HeadError::Damaged)?;
            let (pieces, after) = after.split_at_checked(BUCKETS).ok_or(HeadError::Damaged)?;
            rest = after;
            let exact = exact.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            weights.push(Weights {
                bias: header.biases[kind.place()],
                exact: exact.collect(),
                scale: header.scales[kind.place()],
                pieces: pieces.iter().map(|byte| i8::from_le_bytes([*byte])).collect(),
            });
        }
        let finite = weights.iter().flat_map(|weights| &weights.exact).all(|weight| weight.is_finite());
        let weights = weights.try_into().map_err(|_| HeadError::Damaged)?;
        if !finite || !rest.is_empty() {
            return Err(HeadError::Damaged);
        }
        Ok(Self { provenance: header.provenance, calibration: header.calibration, weights })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads() -> Heads {
        let weights: Vec<f32> = (0..WIDTH).map(|at| (at % 23) as f32 / 10.0 - 1.0).collect();
        let calibration = [Calibration { slope: 1.5, shift: -0.5, threshold: 0.4 }; 3];
        Heads::new([(&weights, 0.1), (&weights, 0.2), (&weights, 0.3)], calibration, Provenance::default())
    }

    #[test]
    fn what_is_written_is_read_and_a_changed_byte_is_noticed() {
        let heads = heads();
        let file = heads.write().unwrap();
        assert_eq!(Heads::read(&file).unwrap(), heads);
        for at in [0, 9, 60, file.len() - 1] {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(matches!(Heads::read(&changed), Err(HeadError::Damaged)), "{at}");
        }
        assert!(Heads::read(&file[..30]).is_err());
    }

    #[test]
    fn values_survive_seven_bits_and_become_probabilities() {
        let heads = heads();
        let row = [(0u32, 1.0f32), (EXACT as u32 + 5, 0.5)];
        let plain = 0.1 - 1.0 + 0.5 * ((EXACT + 5) % 23) as f32 / 10.0 - 0.5;
        assert!((heads.value(Kind::PersonName, &row) - plain).abs() < 0.01);
        let calibration = Calibration { slope: 1.0, shift: 0.0, threshold: 0.5 };
        assert!((calibration.probability(0.0) - 0.5).abs() < 1e-6);
        assert!(calibration.probability(2.0) > 0.8 && calibration.probability(-90.0) < 1e-6);
    }
}
