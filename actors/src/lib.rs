//! Splits one CNN inference over the devices of a LAN.
#![warn(missing_docs)]

pub mod face;
