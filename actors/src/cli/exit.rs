//! How a command fails: exit code, message, and a hint what to try next.

use std::fmt;
use std::process::ExitCode;

use edgeld::input::InputError;
use edgeld::transport::KeyError;
use edgeld::{ClusterError, InferError, LoadError, ServeError};

/// Exit codes other than 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The command failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The model or an input cannot be used.
    Refused = 3,
    /// The cluster could not be formed.
    Cluster = 4,
    /// A signal stopped the command.
    Interrupted = 130,
}

/// The failure of a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Exit {
    /// The exit code.
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

    /// The command failed.
    pub fn failed(message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit::new(Code::Failed, message, hint)
    }

    /// The command line is wrong.
    pub fn usage(message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit::new(Code::Usage, message, hint)
    }

    /// The model or an input cannot be used.
    pub fn refused(message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit::new(Code::Refused, message, hint)
    }

    /// The cluster could not be formed.
    pub fn cluster(message: impl fmt::Display, hint: impl Into<String>) -> Exit {
        Exit::new(Code::Cluster, message, hint)
    }

    /// A signal stopped the command.
    pub fn interrupted() -> Exit {
        Exit::new(Code::Interrupted, "interrupted", "run it again to continue")
    }

    /// A key cannot be made or written.
    pub fn key(error: &KeyError) -> Exit {
        Exit::failed(error, "choose a new file in a directory that can be written")
    }

    /// Standard output cannot be written.
    pub fn output(error: std::io::Error) -> Exit {
        Exit::failed(
            format_args!("cannot write to standard output: {error}"),
            "keep its reader open until the command ends",
        )
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code as u8)
    }
}

impl From<InputError> for Exit {
    fn from(error: InputError) -> Exit {
        let hint = match &error {
            InputError::Seed(_) => return Exit::usage(&error, "see `edgeld run --help`"),
            InputError::Unreadable { .. } => "check the path and its permissions",
            InputError::NotAPicture { .. } => {
                "inputs are png and jpeg pictures or .npy arrays; is the file complete?"
            }
            InputError::NoPictures { .. } => "give an .npy array of that shape, or random:SEED",
            InputError::Malformed { .. } => "write it with numpy.save; is the file complete?",
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
            | ClusterError::Refused { .. }
            | ClusterError::Key(_) => Code::Cluster,
            ClusterError::Home(_) | ClusterError::Start(_) => Code::Failed,
        };
        Exit::new(code, &error, error.hint())
    }
}

impl From<LoadError> for Exit {
    fn from(error: LoadError) -> Exit {
        let hint = match error {
            LoadError::Open(error) => return error.into(),
            LoadError::NoPlan(_) => "allow more memory with --memory, or add devices",
            LoadError::Weights(_) => "did the model file change? try again",
            LoadError::Start(_) => "rerun with RUST_LOG=debug to see the log",
            LoadError::Closed => "run it again",
        };
        Exit::failed(&error, hint)
    }
}

impl From<InferError> for Exit {
    fn from(error: InferError) -> Exit {
        let hint = "rerun with RUST_LOG=debug to see the log, or try --alone";
        match &error {
            InferError::InputCount { .. } => {
                Exit::usage(&error, "give one input per model input, for every frame")
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
            ServeError::Key(_) => Code::Cluster,
            ServeError::Listen { .. } | ServeError::Home(_) | ServeError::Start(_) => Code::Failed,
        };
        Exit::new(code, &error, error.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_documented_exit_codes() {
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
