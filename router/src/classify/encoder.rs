//! A text's meaning as 384 numbers: the sentence encoder all-MiniLM-L6-v2 in int8, run by `rten` in this process.
//!
//! **Promise.** The same text gives the same vector, of length one, on every x86 machine up to the rounding of F32: the
//! matrices have seven bits, because on processors without VNNI `rten` adds two products in 16 bits and eight bits
//! would saturate there. The cosine with the unquantised network is .993 in the mean and .98 at worst
//! (`assets/encoder/README.md`). The work has a ceiling: at most [`MOST_TOKENS`] tokens, found in at most a few KiB
//! from either end, however long the text is; [`Encoded::unread_bytes`] says what was left out.
//!
//! **Why always in the binary.** The weights lie in the repository, so they cannot be absent, and a feature would be
//! one more build to test. A linker drops them from a program that never calls [`Encoder::bundled`].
//!
//! **Memory.** The weights stay where the program's file is mapped: of the table of words (12 MB) only the pages that
//! are looked up become resident, and the system can drop them. The matrices (11 MB) are copied once, packed for the
//! processor: without that each run would pack them again, which takes as long as the run. With the vocabulary an encoder
//! holds about 18 MiB. Load it once, at start or at first use, and share it.
//!
//! **Threads.** [`Encoder::encode`] blocks its caller for about 10 ms and computes on one thread of its own, one text
//! after the other: call it from a thread that may block. `rten` makes its global pool as well, whether used or not; it
//! packs the weights at loading and sleeps from then on (`RTEN_NUM_THREADS=1` keeps it to one thread).
//!
//! **Failure.** Loading fails if the assets do not fit each other, which the tests rule out; encoding fails if `rten`
//! does. No error carries text. Nothing here panics; a panic inside `rten` reaches the caller.

mod wordpiece;

use rten::{LoadError, Model, ModelOptions, NodeId, RunError, RunOptions, ThreadPool, ValueView};
use std::sync::Arc;
use wordpiece::Pieces;

pub use wordpiece::{MOST_TOKENS, PiecesError};

/// Numbers in a vector.
pub const DIMENSIONS: usize = 384;

/// The graph; its large constants are in [`WEIGHTS`].
static GRAPH: &[u8] = include_bytes!("../../assets/encoder/minilm-l6-int8.onnx");
/// Where the graph says that they are.
const WEIGHTS_NAME: &str = "minilm-l6-int8.data";
/// One word piece a line; its number is its id.
const VOCABULARY: &str = include_str!("../../assets/encoder/vocab.txt");

/// Makes vectors of texts.
pub struct Encoder {
    pieces: Pieces,
    model: Model,
    ids: NodeId,
    vector: NodeId,
    pool: Arc<ThreadPool>,
}

/// What a text became.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Of length one: the product of two is their cosine.
    pub vector: Box<[f32; DIMENSIONS]>,
    /// What the network read, with the two tokens that mark beginning and end.
    pub tokens: usize,
    /// What lies between the two ends that were read, and the spaces around it.
    pub unread_bytes: usize,
}

/// Why there is no vector.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The assets do not fit each other.
    #[error("the encoder's weights do not load")]
    Load(#[from] LoadError),
    /// The vocabulary is not that of the weights.
    #[error("the encoder's vocabulary is broken")]
    Vocabulary,
    /// The text could not be cut into word pieces.
    #[error("the text could not be cut into word pieces")]
    Pieces(#[from] PiecesError),
    /// The network could not be run.
    #[error("the encoder failed")]
    Run(#[from] RunError),
    /// The network gave something else than a vector.
    #[error("the encoder gave no vector")]
    NoVector,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

// === impl Encoder ===

impl Encoder {
    /// Loads the encoder that the program carries, in about 30 ms.
    pub fn bundled() -> Result<Self, EncoderError> {
        // Only what the graph needs, so that the rest of rten's operators is not linked.
        let mut options = ModelOptions::with_ops(rten::op_registry!(
            Add,
            Cast,
            DynamicQuantizeLinear,
            Gather,
            Gelu,
            LayerNormalization,
            LpNormalization,
            MatMul,
            MatMulInteger,
            Mul,
            ReduceMean,
            Reshape,
            Shape,
            Slice,
            Softmax,
            Split,
            Transpose
        ));
        options.prepack_weights(true);
        // Aligned, or rten would refuse to read the weights where they lie.
        let weights: &'static [u8] = rten::include_external_data!("../../assets/encoder/minilm-l6-int8.data");
        options.external_data_static(WEIGHTS_NAME, weights);
        let model = options.load_static_slice(GRAPH)?;
        Ok(Self {
            pieces: Pieces::new(VOCABULARY).ok_or(EncoderError::Vocabulary)?,
            ids: model.node_id("ids")?,
            vector: model.node_id("vector")?,
            model,
            pool: Arc::new(ThreadPool::with_num_threads(1)),
        })
    }

    /// Makes the vector of a text that may come as its two ends: `tail` goes on where `head` stops, or is empty.
    ///
    /// Blocks for as long as the network runs, and for those that came before.
    pub fn encode(&self, head: &str, tail: &str) -> Result<Encoded, EncoderError> {
        let read = self.pieces.read(head, tail)?;
        let tokens = read.ids.len();
        let ids = ValueView::from_shape([1, tokens], &read.ids).map_err(|_| EncoderError::NoVector)?;
        let options = RunOptions::default().with_thread_pool(Some(Arc::clone(&self.pool)));
        let [vector] = self.model.run_n(vec![(self.ids, ids.into())], [self.vector], Some(options))?;
        let ([_, _], vector) = vector.into_shape_vec::<f32, 2>().map_err(|_| EncoderError::NoVector)?;
        let vector = vector.into_boxed_slice().try_into().map_err(|_| EncoderError::NoVector)?;
        Ok(Encoded { vector, tokens, unread_bytes: read.unread_bytes })
    }
}

impl Encoder {
    /// Tokens that a whole text has, with the two that mark beginning and end, however many that are.
    pub fn tokens(&self, text: &str) -> Result<usize, EncoderError> {
        Ok(self.pieces.count(text)? + 2)
    }
}

#[cfg(test)]
mod tests;
