//! Model inputs: pictures, arrays, random numbers.
//!
//! Turns files into the `Input` of a port, and writes outputs as arrays. Called by users of the
//! library and by the command line. It never touches the network or a model's layers.
//!
//! ```
//! use edgeld::input::Origin;
//! use edgeld_runtime::graph::{Port, Shape, TensorId};
//!
//! let port = Port { name: "x".into(), tensor: TensorId(0), dims: vec![1, 3, 8, 8] };
//! let source: Origin = "random:7".parse().unwrap();
//! let input = source.read(&port, Shape::new(3, 8, 8), 0.875).unwrap();
//! assert!(matches!(input, edgeld::Input::Pixels(pixels) if pixels.len() == 3 * 8 * 8));
//! ```

mod error;
mod npy;
mod origin;
mod picture;
mod pixels;
mod random;

pub use error::InputError;
pub use npy::write as write_npy;
pub use origin::{DEFAULT_CROP, Origin, read_labels, takes_pictures};
pub use picture::decode as decode_picture;
pub use pixels::normalised;
