//! Model inputs: pictures, arrays, random numbers.
//!
//! Turns files into the `Input` of a port, and writes outputs as arrays. Called by users of the
//! library and by the command line. It never touches the network or a model's layers.
//!
//! ```
//! use edgeld::input::{Framing, Origin};
//! use edgeld_runtime::graph::{Port, Shape, TensorId};
//!
//! let port = Port { name: "x".into(), tensor: TensorId(0), dims: vec![1, 3, 8, 8] };
//! let source: Origin = "random:7".parse().unwrap();
//! let (input, _) = source.read(&port, Shape::new(3, 8, 8), Framing::default()).unwrap();
//! assert!(matches!(input, edgeld::Input::Pixels(pixels) if pixels.len() == 3 * 8 * 8));
//! ```

mod error;
mod fit;
mod npy;
mod origin;
mod picture;
mod pixels;
mod random;

pub use error::InputError;
pub use fit::{Colours, DEFAULT_CROP, Fit, Framing, Placement};
pub use npy::{shape as array_shape, write as write_npy};
pub use origin::{Origin, picture_shape, read_labels, takes_channels_last, takes_pictures};
pub use picture::decode as decode_picture;
pub(crate) use picture::open as load_picture;
pub use pixels::{channels_last, normalised};
