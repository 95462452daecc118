//! The digits that are shown and typed.

use std::fmt;
use std::str::FromStr;

use super::error::PairError;

/// How many there are.
const DIGITS: usize = 6;

/// Six digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl Code {
    /// Random ones.
    ///
    /// # Errors
    /// When the system provides no random numbers.
    pub fn generate() -> Result<Code, PairError> {
        let failed = |error: getrandom::Error| PairError::Failed(error.to_string());
        let number = getrandom::u64().map_err(failed)? % 10u64.pow(DIGITS as u32);
        Ok(Code(format!("{number:0DIGITS$}")))
    }

    pub(super) fn digits(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// As people read it: `481-920`.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.0.split_at(DIGITS / 2);
        write!(f, "{first}-{last}")
    }
}

/// Never shows the digits, so that no log does.
impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code")
    }
}

/// With or without what separates the digits.
impl FromStr for Code {
    type Err = PairError;

    fn from_str(text: &str) -> Result<Code, PairError> {
        let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
        match digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_digit()) {
            true => Ok(Code(digits)),
            false => Err(PairError::Code(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_they_are_shown() {
        let code = Code::generate().unwrap();
        assert_eq!(code.to_string().len(), DIGITS + 1);
        assert_eq!(code.to_string().parse::<Code>().unwrap(), code);
        assert_eq!("004 217".parse::<Code>().unwrap().to_string(), "004-217");
        for odd in ["", "12345", "1234567", "12345a", "１２３４５６"] {
            assert!(odd.parse::<Code>().is_err(), "{odd}");
        }
    }
}
