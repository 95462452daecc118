//! The manifest of a model: its graph, and the hashes of its weights, cut into chunks.
//!
//! A chunk is a range of whole rows of one parameter: about 1 MiB, or one row if that is longer.
//! Chunks follow from the graph, so only their hashes travel, 32 bytes each. A device works out
//! which chunks its share needs, gets them from anywhere, and checks each against its hash. The
//! manifest's own hash names the model.
//!
//! Worked example: the last convolution of VGG16 has 512 rows of 512 x 9 float32, 18 kB each, so
//! a chunk is 56 rows; a device with features 0..128 of it needs three of its ten chunks.
//!
//! ```
//! use edgeld_runtime::manifest::Manifest;
//! use edgeld_runtime::models::{self, Options};
//! let model = models::open("vgg11?size=32&classes=2", &Options::default()).unwrap();
//! let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
//! let received = Manifest::decode(&manifest.encode()).unwrap();
//! assert_eq!(received.id(), manifest.id());
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::graph::{Graph, LayerId, Parameter, ParameterId};
use crate::region::ChannelRange;
use crate::units::Bytes;
use crate::weights::{WeightError, WeightSource};
use crate::wire::{self, DecodeError};

/// The length of a chunk is at most this, unless a row is longer.
const CHUNK: u64 = 1 << 20;

/// A blake3 hash: names a chunk of weights, or a manifest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A range of rows of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Of which parameter.
    pub parameter: ParameterId,
    /// Which rows.
    pub features: ChannelRange,
    /// Its length.
    pub bytes: Bytes,
    /// The hash of its bytes.
    pub hash: Hash,
}

impl Chunk {
    /// Whether `bytes` are this chunk.
    pub(crate) fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.bytes.0 && Hash::of(bytes) == self.hash
    }
}

/// A graph and the chunks of its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    graph: Arc<Graph>,
    chunks: Vec<Chunk>,
    /// Index of each parameter's first chunk.
    first: Vec<u32>,
    id: Hash,
}

/// Why bytes are not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not a manifest at all, or one with an inconsistent graph.
    #[error("manifest: {0}")]
    Malformed(#[from] DecodeError),
    /// The number of hashes does not match the graph.
    #[error("manifest: {found} bytes of hashes for {chunks} chunks")]
    Chunks {
        /// Bytes of hashes.
        found: usize,
        /// Chunks that the graph's weights make.
        chunks: u64,
    },
}

#[derive(Serialize)]
struct Encoding<'a> {
    graph: &'a Graph,
    #[serde(with = "serde_bytes")]
    hashes: Vec<u8>,
}

#[derive(Deserialize)]
struct Decoding {
    graph: Graph,
    #[serde(with = "serde_bytes")]
    hashes: Vec<u8>,
}

impl Manifest {
    /// Reads and hashes all weights. After every chunk `progress` is called with the bytes done and
    /// the total.
    ///
    /// # Errors
    /// When the weights cannot be read.
    pub fn build(
        graph: &Arc<Graph>,
        weights: &dyn WeightSource,
        progress: &mut dyn FnMut(Bytes, Bytes),
    ) -> Result<Manifest, WeightError> {
        let total = Bytes(graph.weights_bytes());
        let mut done = Bytes::ZERO;
        let mut buffer = Vec::new();
        let mut hashes = Vec::new();
        for (parameter, features) in layout(graph) {
            buffer.clear();
            weights.read(parameter, features, &mut buffer)?;
            hashes.push(Hash::of(&buffer));
            done += Bytes(buffer.len() as u64);
            progress(done, total);
        }
        Ok(Manifest::new(Arc::clone(graph), hashes))
    }

    /// There must be one hash for every chunk of [`layout`].
    fn new(graph: Arc<Graph>, hashes: Vec<Hash>) -> Manifest {
        let chunks: Vec<Chunk> = layout(&graph)
            .zip(hashes)
            .map(|((parameter, features), hash)| {
                let rows = u64::from(features.len());
                let bytes = Bytes(rows * graph.parameter(parameter).row_bytes());
                Chunk { parameter, features, bytes, hash }
            })
            .collect();
        let first = graph
            .parameters()
            .iter()
            .scan(0, |next, parameter| {
                let first = *next;
                *next += chunk_count(parameter) as u32;
                Some(first)
            })
            .collect();
        let mut manifest = Manifest { graph, chunks, first, id: Hash([0; 32]) };
        manifest.id = Hash::of(&manifest.encode());
        manifest
    }

    /// Encodes it for the wire or a cache.
    pub fn encode(&self) -> Vec<u8> {
        let hashes = self.chunks.iter().flat_map(|chunk| chunk.hash.0).collect();
        wire::encode(&Encoding { graph: &self.graph, hashes })
    }

    /// Decodes it, from another device or a cache.
    ///
    /// # Errors
    /// When the bytes are not a manifest, the graph is inconsistent, or the hashes do not match it.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        let Decoding { graph, hashes } = wire::decode(bytes)?;
        let chunks: u64 = graph.parameters().iter().map(chunk_count).sum();
        let (hashes, rest) = hashes.as_chunks::<32>();
        if hashes.len() as u64 != chunks || !rest.is_empty() {
            let found = hashes.len() * 32 + rest.len();
            return Err(ManifestError::Chunks { found, chunks });
        }
        Ok(Manifest::new(Arc::new(graph), hashes.iter().copied().map(Hash).collect()))
    }

    /// Names the model: the hash of the encoded manifest.
    pub fn id(&self) -> Hash {
        self.id
    }

    /// The model's graph.
    pub fn graph(&self) -> &Arc<Graph> {
        &self.graph
    }

    /// All chunks, by parameter, then by rows.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// The chunks that hold `features` of `parameter`; none if there is no such parameter.
    pub fn chunks_of(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
    ) -> std::ops::Range<u32> {
        let Some(shape) = self.graph.parameters().get(parameter.index()) else { return 0..0 };
        let features = features.intersect(ChannelRange::all(shape.features));
        if features.is_empty() {
            return 0..0;
        }
        let (first, rows) = (self.first[parameter.index()], rows_per_chunk(shape));
        first + features.start / rows..first + features.end.div_ceil(rows)
    }

    /// The chunks that a device needs for these features of these layers, in order. The features
    /// are those of [`Program::features`](crate::program::Program::features).
    pub fn chunks_for(&self, features: &BTreeMap<LayerId, ChannelRange>) -> Vec<u32> {
        let layers = self.graph.layers();
        let mut chunks: Vec<u32> = features
            .iter()
            .filter_map(|(layer, features)| Some((layers.get(layer.index())?, *features)))
            .flat_map(|(layer, features)| layer.op.parameters().map(move |id| (id, features)))
            .flat_map(|(id, features)| self.chunks_of(id, features))
            .collect();
        chunks.sort_unstable();
        chunks.dedup();
        chunks
    }

    /// Reads a chunk from `weights`.
    ///
    /// # Errors
    /// When there is no such chunk, it cannot be read, or it does not match its hash because the
    /// model file has changed.
    pub fn read(&self, chunk: u32, weights: &dyn WeightSource) -> Result<Vec<u8>, WeightError> {
        let Some(entry) = self.chunks.get(chunk as usize) else {
            return Err(WeightError::Missing(format!("there is no chunk {chunk}")));
        };
        let mut bytes = Vec::new();
        weights.read(entry.parameter, entry.features, &mut bytes)?;
        if !entry.is(&bytes) {
            let name = &self.graph.parameter(entry.parameter).name;
            let rows = entry.features;
            return Err(WeightError::Corrupt(format!(
                "rows {rows} of {name} have changed since the model was opened; open it again"
            )));
        }
        Ok(bytes)
    }
}

fn rows_per_chunk(parameter: &Parameter) -> u32 {
    u32::try_from(CHUNK / parameter.row_bytes()).map_or(u32::MAX, |rows| rows.max(1))
}

fn chunk_count(parameter: &Parameter) -> u64 {
    u64::from(parameter.features.div_ceil(rows_per_chunk(parameter)))
}

/// How a graph's weights are cut.
fn layout(graph: &Graph) -> impl Iterator<Item = (ParameterId, ChannelRange)> {
    (0..).map(ParameterId).zip(graph.parameters()).flat_map(|(id, parameter)| {
        let rows = rows_per_chunk(parameter);
        (0..parameter.features).step_by(rows as usize).map(move |start| {
            let end = start.saturating_add(rows).min(parameter.features);
            (id, ChannelRange::new(start, end))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Vgg;
    use proptest::prelude::*;

    fn manifest() -> (crate::models::Model, Manifest) {
        let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
        let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
        (model, manifest)
    }

    #[test]
    fn chunks_cover_every_row_once_and_are_small() {
        let (model, manifest) = manifest();
        let mut next = vec![0; model.graph.parameters().len()];
        for chunk in manifest.chunks() {
            assert_eq!(chunk.features.start, next[chunk.parameter.index()]);
            next[chunk.parameter.index()] = chunk.features.end;
            assert!(chunk.bytes.0 <= CHUNK);
        }
        let features: Vec<u32> = model.graph.parameters().iter().map(|p| p.features).collect();
        assert_eq!(next, features);
    }

    #[test]
    fn progress_ends_at_the_total() {
        let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
        let mut last = (Bytes::ZERO, Bytes(1));
        Manifest::build(&model.graph, &*model.weights, &mut |done, total| last = (done, total))
            .unwrap();
        assert_eq!(last, (Bytes(model.graph.weights_bytes()), Bytes(model.graph.weights_bytes())));
    }

    #[test]
    fn a_share_needs_the_chunks_it_overlaps() {
        let (model, manifest) = manifest();
        let layer = model.graph.layer_ids().find(|id| model.graph.layer(*id).name == "fc7");
        let wanted = ChannelRange::new(100, 300);
        let chunks = manifest.chunks_for(&[(layer.unwrap(), wanted)].into());
        let chunks: Vec<&Chunk> =
            chunks.iter().map(|index| &manifest.chunks()[*index as usize]).collect();
        let (weights, biases): (Vec<&&Chunk>, _) =
            chunks.iter().partition(|chunk| chunk.features.len() == 64);
        assert_eq!(biases.len(), 1);
        assert_eq!(weights.first().unwrap().features.start, 64);
        assert_eq!(weights.last().unwrap().features.end, 320);
    }

    #[test]
    fn chunks_are_read_and_checked() {
        let (model, manifest) = manifest();
        let bytes = manifest.read(3, &*model.weights).unwrap();
        assert!(manifest.chunks()[3].is(&bytes));
        assert!(!manifest.chunks()[3].is(&bytes[1..]));
        let other = Vgg::new(11).unwrap().size(32).classes(3).seed(1).model().unwrap();
        let error = manifest.read(3, &*other.weights).unwrap_err();
        assert!(matches!(error, WeightError::Corrupt(_)), "{error}");
        assert!(manifest.read(u32::MAX, &*model.weights).is_err());
    }

    #[test]
    fn hashes_must_match_the_graph() {
        let (_, manifest) = manifest();
        let short = Encoding { graph: manifest.graph(), hashes: vec![0; 33] };
        let error = Manifest::decode(&wire::encode(&short)).unwrap_err();
        assert!(matches!(error, ManifestError::Chunks { found: 33, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn mutated_bytes_never_panic(at in 0usize..4000, byte: u8) {
            let (_, manifest) = tiny();
            let mut bytes = manifest.encode();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = Manifest::decode(&bytes);
            prop_assert!(Manifest::decode(&bytes[..at]).is_err());
        }
    }

    /// A manifest that is quick to make.
    fn tiny() -> (crate::models::Model, Manifest) {
        let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
        let hashes = layout(&model.graph).map(|_| Hash([7; 32])).collect();
        let manifest = Manifest::new(Arc::clone(&model.graph), hashes);
        (model, manifest)
    }
}
