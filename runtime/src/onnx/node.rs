//! A node of the file with its inputs resolved: the interface for operators' loaders.

use super::constant::Constant;
use super::error::Problem;
use super::import::{Value, View};
use super::proto::{AttributeProto, NodeProto, TensorProto};

/// A node with its inputs resolved.
pub(crate) struct Node<'a> {
    /// The name for its layer: the node's own name, made unique.
    pub(crate) name: String,
    /// The version of ONNX's operator set that the model uses.
    pub(crate) opset: i64,
    pub(super) proto: &'a NodeProto,
    pub(super) inputs: Vec<Option<Value>>,
    /// The node's tensor attributes.
    pub(super) tensors: Vec<(&'a str, Constant)>,
}

// ONNX's numbers for types of attributes; older files leave it at 0.
const UNSAID: i32 = 0;
const FLOAT: i32 = 1;
const INT: i32 = 2;
const STRING: i32 = 3;
const FLOATS: i32 = 6;
const INTS: i32 = 7;
const STRINGS: i32 = 8;

impl<'a> Node<'a> {
    /// The same node, of the same attributes, with other inputs.
    pub(crate) fn with_inputs(&self, inputs: Vec<Option<Value>>) -> Node<'a> {
        let (name, tensors) = (self.name.clone(), self.tensors.clone());
        Node { name, opset: self.opset, proto: self.proto, inputs, tensors }
    }

    /// All inputs; an omitted one is `None`.
    pub(crate) fn inputs(&self) -> &[Option<Value>] {
        &self.inputs
    }

    /// How many outputs it has.
    pub(crate) fn outputs(&self) -> usize {
        self.proto.output.len()
    }

    /// A required input.
    pub(crate) fn value(&self, index: usize) -> Result<&Value, Problem> {
        self.inputs.get(index).and_then(Option::as_ref).ok_or(Problem::InputMissing(index))
    }

    /// A required input that is computed at run time.
    pub(crate) fn view(&self, index: usize) -> Result<&View, Problem> {
        match self.value(index)? {
            Value::View(view) => Ok(view),
            Value::Constant(_) => Err(Problem::NotComputed(index)),
        }
    }

    /// A required input that is a constant.
    pub(crate) fn constant(&self, index: usize) -> Result<&Constant, Problem> {
        match self.value(index)? {
            Value::Constant(constant) => Ok(constant),
            Value::View(_) => Err(Problem::NotConstant(index)),
        }
    }

    /// A constant input that may be omitted.
    pub(crate) fn optional(&self, index: usize) -> Result<Option<&Constant>, Problem> {
        match self.inputs.get(index) {
            None | Some(None) => Ok(None),
            Some(Some(_)) => self.constant(index).map(Some),
        }
    }

    fn attribute(
        &self,
        name: &str,
        kind: i32,
        wanted: &'static str,
    ) -> Result<Option<&AttributeProto>, Problem> {
        match self.proto.attribute.iter().find(|attribute| attribute.name == name) {
            Some(found) if found.kind != kind && found.kind != UNSAID => {
                Err(Problem::Attribute { name: name.to_owned(), wanted })
            }
            found => Ok(found),
        }
    }

    /// Whether the node has this attribute.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.proto.attribute.iter().any(|attribute| attribute.name == name)
    }

    /// An integer attribute.
    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, Problem> {
        let found = self.attribute(name, INT, "an integer")?;
        Ok(found.map_or(default, |attribute| attribute.i.unwrap_or(0)))
    }

    /// An integer attribute that is 0 or 1.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.int(name, 0)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Problem::Attribute { name: name.to_owned(), wanted: "0 or 1" }),
        }
    }

    /// A float attribute.
    pub(crate) fn float(&self, name: &str, default: f32) -> Result<f32, Problem> {
        let found = self.attribute(name, FLOAT, "a float")?;
        Ok(found.map_or(default, |attribute| attribute.f.unwrap_or(0.0)))
    }

    /// A string attribute; the empty string if there is none.
    pub(crate) fn text(&self, name: &str) -> Result<&str, Problem> {
        let found = self.attribute(name, STRING, "a string")?;
        let bytes = found.and_then(|attribute| attribute.s.as_deref()).unwrap_or_default();
        std::str::from_utf8(bytes)
            .map_err(|_| Problem::Attribute { name: name.to_owned(), wanted: "UTF-8" })
    }

    /// A list of integers.
    pub(crate) fn ints(&self, name: &str) -> Result<Option<&[i64]>, Problem> {
        let found = self.attribute(name, INTS, "a list of integers")?;
        Ok(found.map(|attribute| attribute.ints.as_slice()))
    }

    /// A list of strings; those that are not UTF-8 are empty.
    pub(crate) fn texts(&self, name: &str) -> Result<Vec<&str>, Problem> {
        let found = self.attribute(name, STRINGS, "a list of strings")?;
        let texts = found.map_or(&[][..], |attribute| &attribute.strings);
        Ok(texts.iter().map(|bytes| std::str::from_utf8(bytes).unwrap_or_default()).collect())
    }

    /// A list of floats.
    pub(crate) fn floats(&self, name: &str) -> Result<Option<&[f32]>, Problem> {
        let found = self.attribute(name, FLOATS, "a list of floats")?;
        Ok(found.map(|attribute| attribute.floats.as_slice()))
    }

    /// A tensor.
    pub(crate) fn tensor(&self, name: &str) -> Option<&Constant> {
        self.tensors.iter().find(|(found, _)| *found == name).map(|(_, constant)| constant)
    }

    /// A list of integers that was an attribute in older versions and is an input from `opset` on.
    pub(crate) fn ints_or_input(
        &self,
        name: &str,
        index: usize,
        opset: i64,
    ) -> Result<Option<Vec<i64>>, Problem> {
        if self.opset < opset {
            return Ok(self.ints(name)?.map(<[i64]>::to_vec));
        }
        self.optional(index)?.map(Constant::to_ints).transpose()
    }
}

/// The tensors among a node's attributes.
pub(super) fn tensor_attributes(node: &NodeProto) -> impl Iterator<Item = (&str, &TensorProto)> {
    node.attribute
        .iter()
        .filter_map(|attribute| Some((attribute.name.as_str(), attribute.t.as_ref()?)))
}

/// An axis of `rank` dimensions; negative ones count from the end.
pub(crate) fn axis(axis: i64, rank: usize) -> Result<usize, Problem> {
    let from_start = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
    from_start
        .and_then(|axis| usize::try_from(axis).ok())
        .filter(|axis| *axis < rank)
        .ok_or_else(|| Problem::Invalid(format!("axis {axis} of {rank} dimensions")))
}
