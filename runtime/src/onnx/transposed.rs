//! Transposes that wait until somebody needs them.
//!
//! Files from TensorFlow hold channels last, and a transpose before and after every layer that wants
//! them first. A map has channels first, and reordering one takes all of it on one device. So a
//! `Transpose` becomes no layer: its result is the map together with the order in which the file
//! sees its axes. A second transpose that undoes the first leaves the map itself, functions of single
//! elements and `Concat` go through to the map, and whoever else reads the result makes the layer.
//!
//! ```text
//! Conv a -> Transpose b -> Relu c -> Transpose d -> Conv     as in the file
//! Conv a,   Relu folded into it ->                  Conv     as it is loaded
//! ```

use super::error::Problem;
use super::import::{Import, Value, View};
use super::node::{Node, axis};
use super::nodes::{is_reshape, permutation, permuted};
use super::proto::NodeProto;

/// A view as the file sees it, with its axes in another order.
#[derive(Debug, Clone)]
pub(super) struct Transposed {
    /// The view itself.
    pub(super) view: View,
    /// By axis of what the file sees: the axis of the view.
    axes: Vec<usize>,
    /// The name for the layer that reorders it.
    name: String,
}

/// What a transpose makes.
pub(super) enum Made {
    /// No element moves.
    View(View),
    /// Something that waits.
    Transposed(Transposed),
}

impl Transposed {
    /// A view whose axes a node `Transpose` reorders.
    pub(super) fn of(view: &View, node: &Node) -> Result<Made, Problem> {
        let axes = permutation(node, view.dims.len())?;
        Transposed::with_axes(view.clone(), axes, &node.name)
    }

    /// The same after one more node `Transpose`.
    pub(super) fn again(&self, node: &Node) -> Result<Made, Problem> {
        let axes = permutation(node, self.axes.len())?;
        let axes = axes.into_iter().map(|axis| self.axes[axis]).collect();
        Transposed::with_axes(self.view.clone(), axes, &node.name)
    }

    fn with_axes(view: View, axes: Vec<usize>, name: &str) -> Result<Made, Problem> {
        if is_reshape(&view.dims, &axes) {
            let dims = axes.iter().map(|axis| view.dims[*axis]).collect();
            return Ok(Made::View(view.reshaped(dims)?));
        }
        Ok(Made::Transposed(Transposed { view, axes, name: name.to_owned() }))
    }

    /// What a product of rows with features last is seen as, which are `rows x 1` or `1 x rows`.
    pub(super) fn features_last(view: View, name: &str, is_single_first: bool) -> Transposed {
        let axes = if is_single_first { vec![0, 2, 1] } else { vec![2, 0, 1] };
        Transposed { view, axes, name: name.to_owned() }
    }

    /// Its view as `[1, features, rows]`, if it is seen with features last, and whether the first
    /// axis is the single one then.
    pub(super) fn rows(&self) -> Option<(&View, bool)> {
        let is_single = self.view.dims.len() == 3 && self.view.dims[0] == 1;
        match self.axes[..] {
            [0, 2, 1] if is_single => Some((&self.view, true)),
            [2, 0, 1] if is_single => Some((&self.view, false)),
            _ => None,
        }
    }

    /// Another view whose axes are seen in the same order.
    pub(super) fn like(&self, view: View, name: &str) -> Transposed {
        Transposed { view, axes: self.axes.clone(), name: name.to_owned() }
    }

    /// The reordered view: a layer.
    pub(super) fn reordered(&self, import: &mut Import) -> Result<Value, Problem> {
        permuted(import, &self.name, &Value::View(self.view.clone()), &self.axes)
    }

    /// Whether the axes of two are in the same order.
    pub(super) fn agrees(&self, other: &Transposed) -> bool {
        self.axes == other.axes
    }

    /// A constant that is combined with it element by element, as it is with the view; `None` if it
    /// has more axes.
    pub(super) fn against(&self, import: &mut Import, value: &Value) -> Option<Value> {
        if value.dims().iter().all(|dim| *dim == 1) && value.dims().len() <= self.axes.len() {
            return Some(value.clone());
        }
        let missing = self.axes.len().checked_sub(value.dims().len())?;
        let dims = [vec![1; missing], value.dims().to_vec()].concat();
        let mut back = vec![0; self.axes.len()];
        self.axes.iter().enumerate().for_each(|(seen, axis)| back[*axis] = seen);
        permuted(import, &self.name, &value.reshaped(dims).ok()?, &back).ok()
    }

    /// The attributes of a node that reads views instead of what the file sees.
    pub(super) fn attributes(&self, proto: &NodeProto) -> Result<NodeProto, Problem> {
        let mut proto = proto.clone();
        for attribute in proto.attribute.iter_mut().filter(|attribute| attribute.name == "axis") {
            let seen = axis(attribute.i.unwrap_or(0), self.axes.len())?;
            attribute.i = Some(self.axes[seen] as i64);
        }
        Ok(proto)
    }
}
