//! What was found.

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It is as it should be.
    Ok,
    /// It works, but slower or less safe than it could.
    Warning,
    /// It keeps devices from working together.
    Error,
}

impl Severity {
    /// As it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in a word.
    pub check: &'static str,
    pub severity: Severity,
    pub message: String,
    /// The command that mends it.
    pub remedy: Option<String>,
}

impl Finding {
    pub fn ok(check: &'static str, message: impl Into<String>) -> Finding {
        Finding { check, severity: Severity::Ok, message: message.into(), remedy: None }
    }

    pub fn warning(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let remedy = Some(remedy.into());
        Finding { check, severity: Severity::Warning, message: message.into(), remedy }
    }

    pub fn error(
        check: &'static str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let remedy = Some(remedy.into());
        Finding { check, severity: Severity::Error, message: message.into(), remedy }
    }
}
