//! Text that other devices say, fit to be shown.
//!
//! Names and errors of peers reach logs and terminals. What could move a cursor, change colours or
//! turn the direction of writing is replaced, and what would fill a screen is cut.

use serde::{Deserialize, Deserializer};

/// Longest text, in characters.
const MAX_TEXT: usize = 1000;

/// Reads a text as it may be shown.
pub(super) fn shown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| printable(&text))
}

/// The text with everything replaced that controls a terminal, and cut if it is long.
pub fn printable(text: &str) -> String {
    let fit = |c: char| {
        let turns = matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { char::REPLACEMENT_CHARACTER } else { c }
    };
    text.chars().take(MAX_TEXT).map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_controls_a_terminal_is_replaced() {
        assert_eq!(printable("Küche 2 – 厨房"), "Küche 2 – 厨房");
        assert_eq!(printable("\x1b[2Jpi\r\n\u{202e}"), "\u{fffd}[2Jpi\u{fffd}\u{fffd}\u{fffd}");
        assert_eq!(printable(&"x".repeat(5000)).len(), MAX_TEXT);
    }
}
