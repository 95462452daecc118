//! Loads the nodes of a file, one after another.
//!
//! Only nodes that contribute to an output are loaded. A node that cannot be is a [`Refusal`], and
//! what it would have made is unknown from then on: so everything that a file would need is found
//! at once, not only the first thing. A branch of an `If` whose condition is known takes the node's
//! place.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::{OnnxError, Problem};
use super::import::{Import, Value, View};
use super::node::{Node, tensor_attributes};
use super::nodes::permuted;
use super::operators;
use super::ports;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto};
use super::rows;
use super::shapes::InputShapes;
use super::tensor::Files;
use super::transposed::{Made, Transposed};

/// How much memory constants computed while loading may take: this many times the file's size,
const MOST_COPIES: u64 = 5;
/// plus this many bytes.
const MOST_EXTRA: u64 = 64 << 20;

/// A node that cannot be loaded.
#[derive(Debug)]
pub struct Refusal {
    /// The node's name, or `#` and its index if it has none.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What is wrong with it.
    pub problem: Problem,
}

impl Refusal {
    /// As the reason why a file is refused.
    pub(super) fn into_error(self, file: PathBuf) -> OnnxError {
        let Refusal { node, operator, problem } = self;
        OnnxError::Node { file, node, operator, problem: Box::new(problem) }
    }
}

/// All inputs of a node; an omitted one is `None`.
type Inputs = Vec<Option<Value>>;

/// What became of a node.
pub(super) struct Loaded {
    /// Its operator.
    pub(super) operator: String,
    /// The layers that it added.
    pub(super) layers: Range<usize>,
}

/// A file that is being loaded.
pub(super) struct Loader<'a> {
    graph: &'a GraphProto,
    opset: i64,
    files: Files,
    initializers: HashMap<&'a str, &'a TensorProto>,
    /// How many nodes and outputs read a name.
    readers: HashMap<&'a str, usize>,
    values: HashMap<&'a str, Value>,
    /// What transposes make, whether or not it is a value already.
    transposed: HashMap<&'a str, Transposed>,
    /// What nodes that were refused would have made.
    unknown: HashSet<&'a str>,
    pub(super) import: Import,
    pub(super) loaded: Vec<Loaded>,
    pub(super) refusals: Vec<Refusal>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(name: &str, graph: &'a GraphProto, opset: i64, files: Files) -> Loader<'a> {
        let mut initializers = HashMap::new();
        all_graphs(graph, &mut |graph| {
            let own = graph.initializer.iter().map(|tensor| (tensor.name.as_str(), tensor));
            initializers.extend(own);
        });
        Loader {
            graph,
            opset,
            files,
            initializers,
            readers: HashMap::new(),
            values: HashMap::new(),
            transposed: HashMap::new(),
            unknown: HashSet::new(),
            import: Import::new(name),
            loaded: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Loads everything. What could not be is in `refusals`.
    pub(super) fn load(&mut self, file: &Path, shapes: &InputShapes) -> Result<(), OnnxError> {
        let live = self.live_nodes();
        self.inputs(file, shapes)?;
        let graph = self.graph;
        let live = graph.node.iter().enumerate().filter(|(index, _)| live.contains(index));
        live.for_each(|(index, node)| self.node(index, node));
        Ok(())
    }

    /// The nodes that contribute to an output; also counts the readers of each name.
    fn live_nodes(&mut self) -> HashSet<usize> {
        for output in &self.graph.output {
            *self.readers.entry(&output.name).or_default() += 1;
        }
        let mut live = HashSet::new();
        for (index, node) in self.graph.node.iter().enumerate().rev() {
            if node.output.iter().any(|name| self.readers.contains_key(name.as_str())) {
                live.insert(index);
                self.count_readers(node);
            }
        }
        live
    }

    /// Counts what a node reads, in its branches too.
    fn count_readers(&mut self, node: &'a NodeProto) {
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            *self.readers.entry(name).or_default() += 1;
        }
        for graph in branches(node) {
            for output in &graph.output {
                *self.readers.entry(&output.name).or_default() += 1;
            }
            graph.node.iter().for_each(|node| self.count_readers(node));
        }
    }

    /// Adds the inputs that are read. Older files list initializers among them.
    fn inputs(&mut self, file: &Path, shapes: &InputShapes) -> Result<(), OnnxError> {
        let graph = self.graph;
        let is_read =
            |name: &str| !self.initializers.contains_key(name) && self.readers.contains_key(name);
        let inputs: Vec<_> = graph.input.iter().filter(|input| is_read(&input.name)).collect();
        let known = |name: &&String| !inputs.iter().any(|input| input.name == **name);
        if let Some(name) = shapes.named.keys().find(known) {
            let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
            let problem = Problem::Invalid(format!("there is none; there are {names:?}"));
            return Err(port_error(file, "input", name, problem));
        }
        let is_one = inputs.len() == 1;
        for input in inputs {
            let name = input.name.as_str();
            let fits = |dims: &&[u64]| is_one || ports::dimensions(input, Some(dims)).is_ok();
            let given = match shapes.named.contains_key(name) {
                true => shapes.get(name),
                false => shapes.get(name).filter(fits),
            };
            let named = |problem| match problem {
                Problem::Dynamic { dims, example } if !is_one => {
                    Problem::Dynamic { dims, example: format!("{name}={example}") }
                }
                problem => problem,
            };
            let view = ports::dimensions(input, given)
                .map_err(named)
                .and_then(|(dims, element)| self.import.input(name, dims, element))
                .and_then(|view| self.define(name, Value::View(view)));
            view.map_err(|problem| port_error(file, "input", name, problem))?;
        }
        Ok(())
    }

    /// The model's outputs, once all nodes are loaded.
    pub(super) fn outputs(&mut self, file: &Path) -> Result<Vec<(String, View)>, OnnxError> {
        let mut outputs = Vec::new();
        for output in &self.graph.output {
            let name = output.name.as_str();
            let view = self.value(name).and_then(|value| match value {
                Value::View(view) => self.import.output(name, view),
                Value::Constant(constant) => self.import.materialised(&constant),
            });
            let view = view.map_err(|problem| port_error(file, "output", name, problem))?;
            outputs.push((name.to_owned(), view));
        }
        Ok(outputs)
    }

    /// Loads one node, or says why not.
    fn node(&mut self, index: usize, proto: &'a NodeProto) {
        let start = self.import.layers.len();
        let is_unknown = |name: &String| self.unknown.contains(name.as_str());
        let result = match proto.input.iter().any(is_unknown) {
            // Nothing more can be said of it than whether there is such an operator at all.
            true => operator(proto).map(|_| false),
            false => self.results(index, proto).map(|()| true),
        };
        match result {
            Ok(true) => self.loaded.push(Loaded {
                operator: proto.op_type.clone(),
                layers: start..self.import.layers.len(),
            }),
            Ok(false) => {}
            Err(problem) => self.refusals.push(Refusal {
                node: node_name(index, proto),
                operator: proto.op_type.clone(),
                problem,
            }),
        }
        let made = proto.output.iter().map(String::as_str);
        let is_made = |name| self.values.contains_key(name) || self.transposed.contains_key(name);
        let lacking = made.filter(|name| !name.is_empty() && !is_made(*name));
        self.unknown.extend(lacking);
    }

    /// Loads one node and defines what it makes.
    fn results(&mut self, index: usize, proto: &'a NodeProto) -> Result<(), Problem> {
        if proto.op_type == "If" && is_own(&proto.domain) {
            return self.branch(proto);
        }
        let operator = operator(proto)?;
        let name = self.import.unique_name(&node_name(index, proto));
        if operator.onnx == "Transpose"
            && let Some(made) = self.transpose(&name, proto)?
        {
            return proto.output.first().map_or(Ok(()), |output| self.define_made(output, made));
        }
        if operator.onnx == "MatMul"
            && let Some(made) = self.product(&name, proto)?
        {
            return proto.output.first().map_or(Ok(()), |output| self.define_made(output, made));
        }
        let (inputs, order) = match self.before_transposes(operator, proto)? {
            Some((inputs, order)) => (inputs, Some(order)),
            None => (self.inputs_of(proto)?, None),
        };
        let tensors = tensor_attributes(proto)
            .map(|(name, tensor)| Ok((name, self.files.constant(tensor)?)))
            .collect::<Result<_, Problem>>()?;
        let turned = order.as_ref().map(|order| order.attributes(proto)).transpose()?;
        let attributes = turned.as_ref().unwrap_or(proto);
        let node = Node { name, opset: self.opset, proto: attributes, inputs, tensors };
        let mark = self.import.mark();
        let values = match ((operator.load)(&mut self.import, &node), operator.general) {
            (Err(first), Some(general)) => {
                self.import.return_to(&mark);
                general(&mut self.import, &node).map_err(|second| match second {
                    // It says less than what the first loader found.
                    Problem::Geometry(_) => first,
                    second => second,
                })?
            }
            (values, _) => values?,
        };
        let mut values = values.into_iter();
        for name in &proto.output {
            match values.next() {
                _ if name.is_empty() => {}
                Some(Value::View(view)) if let Some(order) = &order => {
                    self.define_made(name, Made::Transposed(order.like(view, name)))?;
                }
                Some(value) => self.define(name, value)?,
                None if self.readers.contains_key(name.as_str()) => {
                    return Err(Problem::Unsupported(format!("its output {name:?}")));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// All inputs of a node.
    fn inputs_of(&mut self, proto: &NodeProto) -> Result<Inputs, Problem> {
        let value = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => self.value(name).map(Some),
        };
        proto.input.iter().map(value).collect()
    }

    /// What a `Transpose` makes of a value that is computed at run time.
    fn transpose(&mut self, name: &str, proto: &'a NodeProto) -> Result<Option<Made>, Problem> {
        let input = proto.input.first().ok_or(Problem::InputMissing(0))?;
        let (name, opset) = (name.to_owned(), self.opset);
        let node = Node { name, opset, proto, inputs: Vec::new(), tensors: Vec::new() };
        if let Some(transposed) = self.transposed.get(input.as_str()) {
            return transposed.again(&node).map(Some);
        }
        match self.value(input)? {
            Value::View(view) => Transposed::of(&view, &node).map(Some),
            Value::Constant(_) => Ok(None),
        }
    }

    /// A product of many rows of features with a constant matrix; `None` if it is another one.
    fn product(&mut self, name: &str, proto: &NodeProto) -> Result<Option<Made>, Problem> {
        let [rows, matrix] = &proto.input[..] else { return Ok(None) };
        let matrix = match self.value(matrix)? {
            Value::Constant(matrix) if matrix.dims.len() == 2 && matrix.element.is_float() => {
                matrix
            }
            Value::Constant(_) | Value::View(_) => return Ok(None),
        };
        let waiting = self.transposed.get(rows.as_str()).and_then(Transposed::rows);
        let (rows, is_single_first) = match waiting {
            Some((view, is_single_first)) => (view.clone(), is_single_first),
            None => {
                let rows = self.value(rows)?;
                let (axes, is_single_first) = match rows.dims() {
                    [.., features] if *features != matrix.dims[0] => return Ok(None),
                    [1, (2..), _] => ([0, 2, 1], true),
                    [(2..), 1, _] => ([1, 2, 0], false),
                    _ => return Ok(None),
                };
                match permuted(&mut self.import, &format!("{name}/rows"), &rows, &axes)? {
                    Value::View(view) => (view, is_single_first),
                    Value::Constant(_) => return Ok(None),
                }
            }
        };
        if rows.dims[1] != matrix.dims[0] {
            return Ok(None);
        }
        let view = rows::product(&mut self.import, name, &rows, &matrix)?;
        Ok(Some(Made::Transposed(Transposed::features_last(view, name, is_single_first))))
    }

    /// The inputs of a node as they are before a transpose that all of them went through, and that
    /// transpose; `None` if there is no such transpose, or the node means something else before it.
    fn before_transposes(
        &mut self,
        operator: &operators::Operator,
        proto: &NodeProto,
    ) -> Result<Option<(Inputs, Transposed)>, Problem> {
        let transposed = proto.input.iter().find_map(|name| self.transposed.get(name.as_str()));
        let goes_through = operator.elementwise || operator.onnx == "Concat";
        let Some(order) = transposed.filter(|_| goes_through).cloned() else { return Ok(None) };
        let mut inputs = Vec::new();
        for name in proto.input.iter().map(String::as_str) {
            let before = match self.transposed.get(name) {
                _ if name.is_empty() => {
                    inputs.push(None);
                    continue;
                }
                Some(other) if other.agrees(&order) => Some(Value::View(other.view.clone())),
                Some(_) => None,
                None => match self.value(name)? {
                    constant @ Value::Constant(_) if operator.elementwise => {
                        order.against(&mut self.import, &constant)
                    }
                    Value::Constant(_) | Value::View(_) => None,
                },
            };
            match before {
                Some(before) => inputs.push(Some(before)),
                None => return Ok(None),
            }
        }
        Ok(Some((inputs, order)))
    }

    /// Loads the branch of an `If` that its condition chooses.
    fn branch(&mut self, proto: &'a NodeProto) -> Result<(), Problem> {
        let condition = proto.input.first().ok_or(Problem::InputMissing(0))?;
        let chosen = match self.value(condition)? {
            Value::Constant(condition) => condition.to_ints()?.iter().any(|truth| *truth != 0),
            Value::View(_) => {
                let what = "a condition that depends on the input; export the model without it";
                return Err(Problem::Unsupported(what.to_owned()));
            }
        };
        let name = if chosen { "then_branch" } else { "else_branch" };
        let attribute = proto.attribute.iter().find(|attribute| attribute.name == name);
        let wanted = "a graph";
        let graph = attribute
            .and_then(|attribute| attribute.g.as_ref())
            .ok_or_else(|| Problem::Attribute { name: name.to_owned(), wanted })?;
        // Branches may use the same names for different constants.
        for tensor in &graph.initializer {
            if self.initializers.get(tensor.name.as_str()).is_some_and(|own| *own != tensor) {
                self.initializers.insert(&tensor.name, tensor);
            }
        }
        let before = self.refusals.len();
        graph.node.iter().enumerate().for_each(|(index, node)| self.node(index, node));
        if self.refusals.len() > before {
            // They were said already.
            return Ok(());
        }
        for (name, output) in proto.output.iter().zip(&graph.output) {
            let value = self.value(&output.name)?;
            if !name.is_empty() {
                self.define(name, value)?;
            }
        }
        Ok(())
    }

    /// Defines what a name stands for.
    fn define(&mut self, name: &'a str, mut value: Value) -> Result<(), Problem> {
        match &mut value {
            Value::View(view) => view.sole &= self.readers.get(name) == Some(&1),
            Value::Constant(constant) => self.import.charge(&constant.data),
        }
        // Enough for a few transposed or converted copies of the weights; only a malicious file
        // needs more.
        let most = self.files.bytes().saturating_mul(MOST_COPIES).saturating_add(MOST_EXTRA);
        if self.import.charged() > most {
            return Err(Problem::Invalid(format!("constants of over {most} bytes in all")));
        }
        let is_new = !self.transposed.contains_key(name) && !self.initializers.contains_key(name);
        match self.values.insert(name, value) {
            None if is_new => Ok(()),
            _ => Err(Problem::Redefined(name.to_owned())),
        }
    }

    /// Defines what a name stands for that may wait to be reordered.
    fn define_made(&mut self, name: &'a str, made: Made) -> Result<(), Problem> {
        let mut transposed = match made {
            Made::View(view) => return self.define(name, Value::View(view)),
            Made::Transposed(transposed) => transposed,
        };
        transposed.view.sole &= self.readers.get(name) == Some(&1);
        let is_new = !self.values.contains_key(name) && !self.initializers.contains_key(name);
        match self.transposed.insert(name, transposed) {
            None if is_new => Ok(()),
            _ => Err(Problem::Redefined(name.to_owned())),
        }
    }

    /// What a name stands for. A transpose that waited until now becomes a layer.
    fn value(&mut self, name: &str) -> Result<Value, Problem> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.clone());
        }
        if let Some((name, transposed)) = self.transposed.get_key_value(name) {
            let (name, transposed) = (*name, transposed.clone());
            let mut value = transposed.reordered(&mut self.import)?;
            if let Value::View(view) = &mut value {
                view.sole &= self.readers.get(name) == Some(&1);
            }
            self.values.insert(name, value.clone());
            return Ok(value);
        }
        match self.initializers.get(name) {
            Some(tensor) => Ok(Value::Constant(self.files.constant(tensor)?)),
            None => Err(Problem::Undefined(name.to_owned())),
        }
    }
}

/// The operator of a node.
fn operator(proto: &NodeProto) -> Result<&'static operators::Operator, Problem> {
    operators::by_name(&proto.op_type).filter(|_| is_own(&proto.domain)).ok_or(Problem::Operator)
}

/// Whether a domain is that of ONNX's own operators.
pub(super) fn is_own(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn node_name(index: usize, node: &NodeProto) -> String {
    if node.name.is_empty() { format!("#{index}") } else { node.name.clone() }
}

/// The graphs among a node's attributes.
fn branches(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().filter_map(|attribute: &AttributeProto| attribute.g.as_ref())
}

/// Calls `visit` with a graph and all graphs within it.
fn all_graphs<'a>(graph: &'a GraphProto, visit: &mut impl FnMut(&'a GraphProto)) {
    visit(graph);
    graph.node.iter().flat_map(branches).for_each(|graph| all_graphs(graph, visit));
}

fn port_error(file: &Path, kind: &str, name: &str, problem: Problem) -> OnnxError {
    OnnxError::Port {
        file: PathBuf::from(file),
        port: format!("{kind} {name}"),
        problem: Box::new(problem),
    }
}
