//! How a command ends when it does not simply end: exit code, message, and what to try next.

use std::fmt;
use std::process::ExitCode;

use edgeld::input::InputError;
use edgeld::{ClusterError, InferError, LoadError, ServeError};

/// The exit codes, apart from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// It failed while running.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The model or an input was refused.
    Refused = 3,
    /// The cluster was not there.
    Cluster = 4,
    /// Somebody stopped it.
    Interrupted = 130,
}

/// The end of a command that did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Exit {
    /// With which code.
    pub code: Code,
    /// What was wrong.
    pub message: String,
    /// What to try next.
    pub hint: String,
}

impl Exit {
    fn new(code: Code, message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit { code, message: message.to_string(), hint: hint.into() }
    }

    /// It failed while running.
    pub fn failed(message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit::new(Code::Failed, message, hint)
    }

    /// The command line makes no sense.
    pub fn usage(message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit::new(Code::Usage, message, hint)
    }

    /// The model or an input was refused.
    pub fn refused(message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit::new(Code::Refused, message, hint)
    }

    /// Somebody stopped it.
    pub fn interrupted() -> Exit {
        Exit::new(Code::Interrupted, "interrupted", "start it again to go on")
    }

    /// Standard output cannot be written.
    pub fn output(error: std::io::Error) -> Exit {
        Exit::failed(
            format_args!("standard output: {error}"),
            "whoever reads it must not close it before the end",
        )
    }

    /// For the operating system.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code as u8)
    }
}

impl From<InputError> for Exit {
    fn from(error: InputError) -> Exit {
        let hint = match &error {
            InputError::Seed(_) => return Exit::usage(&error, "see `edgeld run --help`"),
            InputError::Unreadable { .. } => "check the path and who may read it",
            InputError::NotAPicture { .. } => {
                "png and jpeg pictures and .npy arrays can be read; is the file whole?"
            }
            InputError::NoPictures { .. } => "give an .npy array of that shape, or random:SEED",
            InputError::Malformed { .. } => "write it with numpy.save; is the file whole?",
            InputError::Shape { .. } => {
                "reshape the array, or fix a dynamic dimension with --input-shape"
            }
            InputError::ElementType { .. } => "convert it: array.astype('float32')",
        };
        Exit::refused(&error, hint)
    }
}

impl From<ClusterError> for Exit {
    fn from(error: ClusterError) -> Exit {
        let code = match &error {
            ClusterError::TooFew { .. }
            | ClusterError::Unreachable { .. }
            | ClusterError::Refused { .. } => Code::Cluster,
            ClusterError::Home(_) | ClusterError::Start(_) => Code::Failed,
        };
        Exit::new(code, &error, error.hint())
    }
}

impl From<LoadError> for Exit {
    fn from(error: LoadError) -> Exit {
        let hint = match error {
            LoadError::Open(error) => return error.into(),
            LoadError::NoPlan(_) => "give it more memory with --memory, or more devices",
            LoadError::Weights(_) => "is the model file still as it was? try again",
            LoadError::Start(_) => "see the log with RUST_LOG=debug",
            LoadError::Closed => "start it again",
        };
        Exit::failed(&error, hint)
    }
}

impl From<InferError> for Exit {
    fn from(error: InferError) -> Exit {
        let hint = "see the log with RUST_LOG=debug, or try --alone";
        match &error {
            InferError::InputCount { .. } => {
                Exit::usage(&error, "give as many inputs as the model has, for every frame")
            }
            InferError::Input { .. } => Exit::refused(&error, "see `edgeld run --help`"),
            InferError::Failed { .. } | InferError::Closed => Exit::failed(&error, hint),
        }
    }
}

impl From<ServeError> for Exit {
    fn from(error: ServeError) -> Exit {
        let code = match &error {
            ServeError::Open { .. } => Code::Usage,
            ServeError::Listen { .. } | ServeError::Home(_) | ServeError::Start(_) => Code::Failed,
        };
        Exit::new(code, &error, error.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_contracts() {
        let too_few = ClusterError::TooFew {
            found: 1,
            wanted: 2,
            waited: edgeld_runtime::units::Ms(500.0),
            notes: Vec::new(),
        };
        assert_eq!(Exit::from(too_few).code as u8, 4);
        assert_eq!(Exit::from(LoadError::Closed).code as u8, 1);
        assert_eq!(Exit::from(InputError::Seed("x".into())).code as u8, 2);
        let shape =
            InputError::Shape { path: "x.npy".into(), found: vec![1], wanted: vec![1, 3, 8, 8] };
        assert_eq!(Exit::from(shape).code as u8, 3);
        assert_eq!(Exit::interrupted().code as u8, 130);
    }
}
