//! What people want to know of a picture: its class, or the objects in it.
//!
//! A model answers with tensors. For the two most common tasks they are turned into words and boxes
//! here: [`classes`] makes probabilities, [`Head::detect`] boxes in the picture, [`draw`] a picture
//! with these in it. [`Hints`] says what a model's file tells about its task, and an [`Interpreter`]
//! is all of this for one model. Called by users of the library, by the server and by the command
//! line, once an answer is there. It never touches the network or a
//! model's layers.
//!
//! ```
//! use edgeld::Output;
//! use edgeld::input::Fit;
//! use edgeld::task::{Head, Limits};
//!
//! // One box that YOLOv8 found: centre 32, 16, size 20 x 10, 0.9 for the second of two classes.
//! let data = vec![32.0, 16.0, 20.0, 10.0, 0.0, 0.9];
//! let output = Output { name: "output0".into(), dims: vec![1, 6, 1], data };
//! let placement = Fit::Stretch.place([128, 128], [64, 64]);
//! let found = Head::YoloV8.detect(&[output], [64, 64], &placement, Limits::default()).unwrap();
//! assert_eq!((found[0].class, found[0].bounds.left, found[0].bounds.top), (1, 44.0, 22.0));
//! ```

mod bounds;
mod classes;
mod draw;
mod head;
mod hints;
mod interpreter;
mod ssd;
mod yolo;

pub use bounds::{Bounds, Detection, Limits};
pub use classes::{Class, classes};
pub use draw::{DrawError, draw};
pub use head::{Head, HeadError};
pub use hints::{Hints, Task};
pub use interpreter::{Interpreter, Meaning, NamedClass, NamedObject, TaskOptions};
