//! What a trained head saw of a request, small enough to be kept: the features, and the embedding in one byte a
//! dimension.
//!
//! From these a head is adapted later without the prompt (`learn::adapt` fits parts to features and embeddings; n-grams
//! need the text). An embedding of length 1 keeps its products to three digits in steps of 1/127 of its largest value.

use super::probe::head::Views;

/// Features and embedding of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    features: Box<[f32]>,
    embedding: Option<(f32, Box<[i8]>)>,
}

// === impl Evidence ===

impl Evidence {
    /// Of what the parts of a head see.
    pub fn of(views: &Views) -> Self {
        let embedding = views.embedding.as_ref().map(|embedding| {
            let most = embedding.iter().fold(0f32, |most, value| most.max(value.abs()));
            let step = if most > 0.0 { most / 127.0 } else { 1.0 };
            (step, embedding.iter().map(|value| (value / step).round() as i8).collect())
        });
        Self { features: views.features.as_slice().into(), embedding }
    }

    /// As a part sees it again: without n-grams.
    pub fn views(&self) -> Views {
        let embedding = self.embedding.as_ref();
        let embedding = embedding.map(|(step, steps)| steps.iter().map(|at| f32::from(*at) * step).collect());
        Views { features: self.features.to_vec(), grams: vec![], embedding }
    }

    /// The features, four bytes each.
    pub(crate) fn features_blob(&self) -> Vec<u8> {
        self.features.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    /// The size of a step, then a byte a dimension.
    pub(crate) fn embedding_blob(&self) -> Option<Vec<u8>> {
        let (step, steps) = self.embedding.as_ref()?;
        Some(step.to_le_bytes().into_iter().chain(steps.iter().map(|at| at.cast_unsigned())).collect())
    }

    /// From what was stored; what is cut short is left out.
    pub(crate) fn stored(features: &[u8], embedding: Option<&[u8]>) -> Self {
        let (features, _) = features.as_chunks::<4>();
        let embedding = embedding
            .and_then(|bytes| bytes.split_first_chunk::<4>())
            .map(|(step, steps)| (f32::from_le_bytes(*step), steps.iter().map(|byte| byte.cast_signed()).collect()));
        Self { features: features.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(), embedding }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_stored_is_read_again(
            features in proptest::collection::vec(-1e6f32..1e6, 0..80),
            embedding in proptest::option::of(proptest::collection::vec(-1f32..1.0, 384)),
        ) {
            let evidence = Evidence::of(&Views { features: features.clone(), grams: vec![(1, 1)], embedding: embedding.clone() });
            let again = Evidence::stored(&evidence.features_blob(), evidence.embedding_blob().as_deref());
            prop_assert_eq!(&again, &evidence);
            let views = again.views();
            prop_assert_eq!(views.features, features);
            prop_assert_eq!(views.embedding.is_some(), embedding.is_some());
            for (was, is) in embedding.iter().flatten().zip(views.embedding.iter().flatten()) {
                prop_assert!((was - is).abs() <= 0.5 / 127.0 + 1e-6, "{} {}", was, is);
            }
        }
    }
}
