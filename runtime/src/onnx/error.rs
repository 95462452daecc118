//! Why a model file was refused.

use std::path::PathBuf;

use super::slim::WireError;
use crate::graph::{GeometryError, GraphError};

/// Why a model file was refused. Every message says which file, what in it, and what to try.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file cannot be read.
    #[error(
        "{}: {source}; a model is an .onnx file or one of vgg11, vgg13, vgg16 and vgg19",
        file.display()
    )]
    Io {
        /// Which file.
        file: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The file is not an ONNX model, or not all of one.
    #[error("{}: not a complete ONNX model: {what}; fetch or export it again", file.display())]
    Malformed {
        /// Which file.
        file: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
    /// A newer operator set than the loaders know.
    #[error(
        "{}: its operator set is version {found}, the newest known one is {newest}; export it for an \
         older version",
        file.display()
    )]
    Opset {
        /// Which file.
        file: PathBuf,
        /// The file's version.
        found: i64,
        /// The newest that is known.
        newest: i64,
    },
    /// A node cannot be loaded.
    #[error("{}: node {node} ({operator}): {problem}", file.display())]
    Node {
        /// Which file.
        file: PathBuf,
        /// The node's name, or `#` and its index if it has none.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// An input or output of the model cannot be handled.
    #[error("{}: {port}: {problem}", file.display())]
    Port {
        /// Which file.
        file: PathBuf,
        /// `input NAME` or `output NAME`.
        port: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// The layers do not form a valid graph.
    #[error("{}: {source}", file.display())]
    Graph {
        /// Which file.
        file: PathBuf,
        /// Why not.
        source: GraphError,
    },
}

/// What is wrong with a node, an input or an output of a model.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// An operator without a loader.
    #[error("this operator is not supported")]
    Operator,
    /// An input that is required.
    #[error("input {0} is missing")]
    InputMissing(usize),
    /// A name that nothing defines.
    #[error(
        "it reads {0:?}, which neither an earlier node nor an input nor an initializer makes; \
         sort the nodes topologically"
    )]
    Undefined(String),
    /// A name that is defined twice.
    #[error("it makes {0:?}, which exists already")]
    Redefined(String),
    /// A computed value where a constant is required.
    #[error("input {0} is computed at run time; only a constant is supported here")]
    NotConstant(usize),
    /// A constant where a computed value is required.
    #[error("input {0} is a constant; only a value computed at run time is supported here")]
    NotComputed(usize),
    /// An attribute of the wrong type or out of range.
    #[error("attribute {name} must be {wanted}")]
    Attribute {
        /// Which.
        name: String,
        /// What is accepted.
        wanted: &'static str,
    },
    /// Dimensions that are not supported here.
    #[error("dimensions {dims:?}, but {wanted}")]
    Dims {
        /// The dimensions found.
        dims: Vec<u64>,
        /// What is accepted, as a clause.
        wanted: String,
    },
    /// Dimensions that the caller has to fix.
    #[error("dimensions {dims} are not fixed; give them, as --input-shape {example}")]
    Dynamic {
        /// The dimensions in the file, with `?` for those it leaves open.
        dims: String,
        /// An example value for the option.
        example: String,
    },
    /// A tensor whose data does not match its type and dimensions.
    #[error("tensor {name:?}: {what}")]
    Tensor {
        /// Which.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A tensor whose data cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The operator refuses its inputs' shapes.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// Anything else that is valid ONNX and not supported.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// Anything else that is not valid ONNX.
    #[error("{0}")]
    Invalid(String),
}

impl From<WireError> for String {
    fn from(error: WireError) -> String {
        error.to_string()
    }
}
