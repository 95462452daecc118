//! The protocol's JSON.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::serve::model::Elements;

/// Named values that change how a request is answered.
pub(super) type Parameters = Map<String, Value>;

/// A request.
#[derive(Debug, Deserialize)]
pub(super) struct InferRequest {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) parameters: Option<Parameters>,
    pub(super) inputs: Vec<RequestInput>,
    #[serde(default)]
    pub(super) outputs: Option<Vec<RequestOutput>>,
}

/// A tensor of a request.
#[derive(Debug, Deserialize)]
pub(super) struct RequestInput {
    pub(super) name: String,
    pub(super) shape: Vec<u64>,
    pub(super) datatype: String,
    #[serde(default)]
    pub(super) parameters: Option<Parameters>,
    /// Missing if it follows the JSON as bytes.
    #[serde(default)]
    pub(super) data: Option<Numbers>,
}

/// An output that is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct RequestOutput {
    pub(super) name: String,
    #[serde(default)]
    pub(super) parameters: Option<Parameters>,
}

/// A response.
#[derive(Debug, Serialize)]
pub(super) struct InferResponse<'a> {
    pub(super) model_name: &'a str,
    pub(super) model_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<&'a str>,
    pub(super) outputs: Vec<ResponseOutput>,
}

/// A tensor of a response.
#[derive(Debug, Serialize)]
pub(super) struct ResponseOutput {
    pub(super) name: String,
    pub(super) datatype: &'static str,
    pub(super) shape: Vec<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Elements>,
}

/// Bytes of a tensor that follows the JSON.
#[derive(Debug, Serialize)]
pub(super) struct BinarySize {
    pub(super) binary_data_size: usize,
}

/// Numbers in lists, which may be nested like the tensor's axes or not.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Numbers(pub(super) Vec<f32>);

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Numbers, D::Error> {
        let mut numbers = Vec::new();
        deserializer.deserialize_seq(List(&mut numbers))?;
        Ok(Numbers(numbers))
    }
}

/// Appends what is in a list.
struct List<'a>(&'a mut Vec<f32>);

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Item(self.0))?.is_some() {}
        Ok(())
    }
}

/// Appends a number, or what is in a list.
struct Item<'a>(&'a mut Vec<f32>);

impl<'de> serde::de::DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true or false, or a list of these")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        List(self.0).visit_seq(list)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.0.push(f32::from(u8::from(value)));
        Ok(())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.0.push(value as f32);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_nested() {
        let numbers = |text: &str| serde_json::from_str::<Numbers>(text).map(|Numbers(all)| all);
        assert_eq!(numbers("[[1, 2.5], [[-3]], true, []]").unwrap(), [1.0, 2.5, -3.0, 1.0]);
        assert!(numbers("[]").unwrap().is_empty());
        for odd in ["1", "null", "[null]", "[\"1\"]", "{\"a\":1}"] {
            assert!(numbers(odd).is_err(), "{odd}");
        }
        // Nesting is bounded.
        assert!(numbers(&"[".repeat(100_000)).is_err());
    }
}
