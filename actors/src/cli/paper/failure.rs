//! How making the report fails, where nobody has done anything wrong.

use super::super::exit::Exit;

/// What should not have happened.
pub fn failed(what: impl std::fmt::Display) -> Exit {
    Exit::failed(what, "run it again: it goes on where it was; RUST_LOG=debug shows what happens")
}
