//! Tasks, and what a model's file tells about its own.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::head::Head;

/// What is to be found out about a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Task {
    /// Nothing: the outputs as they are.
    Raw,
    /// What it shows.
    Classify,
    /// Which objects are where in it.
    Detect,
}

impl FromStr for Task {
    type Err = String;

    fn from_str(name: &str) -> Result<Task, String> {
        match name {
            "raw" => Ok(Task::Raw),
            "classify" => Ok(Task::Classify),
            "detect" => Ok(Task::Detect),
            _ => Err("there are classify, detect and raw".to_owned()),
        }
    }
}

/// What a file's metadata says: this project's properties, or those that Ultralytics writes.
///
/// ```
/// use edgeld::task::{Hints, Task};
/// let metadata = [("task", "detect"), ("names", "{0: 'cat', 1: \"dog's bed\"}")];
/// let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned()));
/// let hints = Hints::of(&metadata.into());
/// assert_eq!(hints.task, Some(Task::Detect));
/// assert_eq!(hints.labels, ["cat", "dog's bed"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hints {
    /// `edgeld.task` or `task`.
    pub task: Option<Task>,
    /// `edgeld.head`.
    pub head: Option<Head>,
    /// `edgeld.labels`, one a line, or `names`.
    pub labels: Vec<String>,
}

impl Hints {
    /// What a file's metadata says. What is not understood is left out.
    pub fn of(metadata: &BTreeMap<String, String>) -> Hints {
        let property = |own: &str, other: &str| {
            metadata.get(own).or_else(|| metadata.get(other)).map(String::as_str)
        };
        let labels = match metadata.get("edgeld.labels") {
            Some(lines) => lines.lines().map(str::to_owned).collect(),
            None => metadata.get("names").map(|names| dictionary(names)).unwrap_or_default(),
        };
        Hints {
            task: property("edgeld.task", "task").and_then(|task| task.parse().ok()),
            head: metadata.get("edgeld.head").and_then(|head| head.parse().ok()),
            labels,
        }
    }
}

/// The largest index of a label.
const MOST_LABELS: usize = 1 << 16;

/// The texts of a dictionary as Python prints it, by number.
fn dictionary(text: &str) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    let mut rest = text.trim_start_matches('{');
    while let Some((number, value)) = rest.split_once(':') {
        let index = number.trim_matches([',', ' ', '\n']).parse::<usize>();
        let Some(index) = index.ok().filter(|index| *index < MOST_LABELS) else { break };
        let Some((label, behind)) = quoted(value.trim_start()) else { break };
        if labels.len() <= index {
            labels.resize(index + 1, String::new());
        }
        labels[index] = label;
        rest = behind;
    }
    labels
}

/// A text in quotes, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
    let mut label = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => label.extend(letters.next().map(|(_, letter)| letter)),
            _ if letter == quote => return Some((label, &text[at + 1..])),
            _ => label.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_are_read_as_python_prints_them() {
        let found = dictionary(r#"{0: 'a', 2: "b: 'c'", 1: 'd\'e, {'}"#);
        assert_eq!(found, ["a", "d'e, {", "b: 'c'"]);
        for odd in ["", "{", "{0: a}", "{x: 'a'}", "{0: 'a", "{99999999999: 'a'}", "{0"] {
            assert!(dictionary(odd).is_empty(), "{odd}");
        }
    }

    #[test]
    fn own_properties_come_first() {
        let of = |properties: &[(&str, &str)]| {
            let owned = properties.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            Hints::of(&owned.collect())
        };
        let hints = of(&[("task", "pose"), ("edgeld.head", "yolox"), ("edgeld.labels", "a\nb")]);
        assert_eq!(hints.task, None);
        assert_eq!((hints.head, hints.labels.len()), (Some(Head::YoloX), 2));
        assert_eq!(of(&[("task", "detect"), ("edgeld.task", "raw")]).task, Some(Task::Raw));
    }
}
