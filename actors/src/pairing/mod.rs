//! Joins a device to a cluster by a short code instead of a copied key file.
//!
//! A device that has the key shows six digits; they are typed on the new device, which finds the first
//! one over mDNS and gets the key. From six digits both make a strong secret with SPAKE2, a balanced
//! password-authenticated key exchange: who listens learns nothing, and who guesses needs the other
//! device for every guess. Three wrong ones end it. With that secret they speak Noise, as devices do
//! with the cluster's key, and the key is the content of the second message.
//!
//! ```text
//! new device                                   device with the key
//!   magic, X = SPAKE2(code)           ──►
//!                                     ◄──      Y = SPAKE2(code)
//!   Noise NNpsk0 (X, Y): its name     ──►      wrong code: this does not open
//!                                     ◄──      the cluster's name and key
//! ```
//!
//! Called by users of the library and by the command line. It never looks at sessions or plans, and
//! never sends the key before the code has been proved.

mod code;
mod error;
mod exchange;
mod host;
mod join;
mod lan;

pub use code::Code;
pub use error::PairError;
pub use host::{Host, Paired};
pub use join::{Joined, join};
