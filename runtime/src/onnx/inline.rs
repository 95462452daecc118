//! Puts the nodes of a file's own functions in the place of their calls.
//!
//! ```text
//! function Twice(a) -> b { b = Add(a, a) }      node t: y = Twice(x)
//! node t/0: y = Add(x, x)
//! ```

use std::collections::HashMap;

use prost::Message;

use super::proto::{AttributeProto, FunctionProto, ModelProto, NodeProto};

/// The deepest that functions may call each other.
const DEEPEST: usize = 32;

/// The most calls and nodes.
const MOST_NODES: usize = 1 << 20;

/// The most bytes of nodes that calls make, as they would be in a file.
const MOST_BYTES: usize = 64 << 20;

/// Replaces all calls of functions by what they stand for.
///
/// # Errors
/// What is wrong with the functions.
pub(super) fn functions(model: &mut ModelProto) -> Result<(), &'static str> {
    let functions = std::mem::take(&mut model.functions);
    if functions.is_empty() {
        return Ok(());
    }
    let functions: HashMap<(&str, &str), &FunctionProto> =
        functions.iter().map(|f| ((f.domain.as_str(), f.name.as_str()), f)).collect();
    let Some(graph) = model.graph.as_mut() else { return Ok(()) };
    let mut made = Made::default();
    for (index, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        expand(&functions, node, &format!("#{index}"), 0, &mut made)?;
    }
    graph.node = made.nodes;
    Ok(())
}

/// What calls have made so far.
#[derive(Default)]
struct Made {
    nodes: Vec<NodeProto>,
    /// Calls and nodes.
    steps: usize,
    bytes: usize,
}

/// Appends a node, or what its function consists of. `place` names it, if nothing else does.
fn expand(
    functions: &HashMap<(&str, &str), &FunctionProto>,
    node: NodeProto,
    place: &str,
    depth: usize,
    made: &mut Made,
) -> Result<(), &'static str> {
    made.steps += 1;
    if depth > 0 {
        made.bytes = made.bytes.saturating_add(node.encoded_len());
    }
    if made.steps > MOST_NODES || made.bytes > MOST_BYTES {
        return Err("its functions make over a million nodes, or over 64 MB of them");
    }
    let Some(function) = functions.get(&(node.domain.as_str(), node.op_type.as_str())) else {
        made.nodes.push(node);
        return Ok(());
    };
    if depth == DEEPEST {
        return Err("its functions call each other in circles");
    }
    let call = if node.name.is_empty() { place } else { node.name.as_str() };
    // Names outside for those of inputs and outputs; others are the call's own.
    let given = |names: &[String], outer: &[String]| -> Vec<(String, String)> {
        let outer = outer.iter().cloned().chain(std::iter::repeat(String::new()));
        names.iter().cloned().zip(outer).collect()
    };
    let mut outer: HashMap<String, String> =
        given(&function.input, &node.input).into_iter().collect();
    let results = given(&function.output, &node.output);
    outer.extend(results.into_iter().filter(|(_, name)| !name.is_empty()));
    let rename = |name: &String| match outer.get(name) {
        Some(outer) => outer.clone(),
        None if name.is_empty() => String::new(),
        None => format!("{call}/{name}"),
    };
    for (index, inner) in function.node.iter().enumerate() {
        let mut inner = inner.clone();
        if inner.attribute.iter().any(|attribute| attribute.g.is_some()) {
            return Err("a function holds a branch or a loop");
        }
        inner.input = inner.input.iter().map(rename).collect();
        inner.output = inner.output.iter().map(rename).collect();
        let own = if inner.name.is_empty() { index.to_string() } else { inner.name.clone() };
        inner.name = format!("{call}/{own}");
        inner.attribute =
            inner.attribute.into_iter().filter_map(|a| resolved(a, &node, function)).collect();
        let place = inner.name.clone();
        expand(functions, inner, &place, depth + 1, made)?;
    }
    Ok(())
}

/// An attribute with the value that the call gives the one it refers to; `None` if it gives none.
fn resolved(
    attribute: AttributeProto,
    call: &NodeProto,
    function: &FunctionProto,
) -> Option<AttributeProto> {
    if attribute.reference.is_empty() {
        return Some(attribute);
    }
    let given = call.attribute.iter().chain(&function.attribute);
    let found = given.into_iter().find(|given| given.name == attribute.reference)?;
    Some(AttributeProto { name: attribute.name, ..found.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::GraphProto;

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (input, output) = (names(inputs), names(outputs));
        NodeProto { op_type: op.to_owned(), input, output, ..NodeProto::default() }
    }

    fn function(name: &str, nodes: Vec<NodeProto>) -> FunctionProto {
        FunctionProto {
            name: name.to_owned(),
            input: vec!["a".to_owned()],
            output: vec!["b".to_owned()],
            node: nodes,
            ..FunctionProto::default()
        }
    }

    fn model(functions: Vec<FunctionProto>) -> ModelProto {
        let node = vec![node("Twice", &["x"], &["y"])];
        let graph = Some(GraphProto { node, ..GraphProto::default() });
        ModelProto { graph, functions, ..ModelProto::default() }
    }

    #[test]
    fn a_call_becomes_its_nodes() {
        let mut slope = AttributeProto { name: "alpha".to_owned(), ..AttributeProto::default() };
        slope.reference = "slope".to_owned();
        let mut leaky = node("LeakyRelu", &["a"], &["c"]);
        leaky.attribute = vec![slope];
        let mut twice = function("Twice", vec![leaky, node("Add", &["c", "c"], &["b"])]);
        let half =
            AttributeProto { f: Some(0.5), name: "slope".into(), ..AttributeProto::default() };
        twice.attribute = vec![half];
        let mut model = model(vec![twice]);
        functions(&mut model).unwrap();
        let nodes = model.graph.unwrap().node;
        assert_eq!(nodes[0].input, ["x"]);
        assert_eq!(nodes[0].attribute[0].f, Some(0.5));
        assert_eq!((&nodes[1].input[0], &nodes[1].output[0]), (&nodes[0].output[0], &"y".into()));
    }

    #[test]
    fn circles_are_refused() {
        let mut model = model(vec![function("Twice", vec![node("Twice", &["a"], &["b"])])]);
        assert!(functions(&mut model).unwrap_err().contains("circles"));
        let many = |name: &str, inner: &str| function(name, vec![node(inner, &["a"], &["b"]); 64]);
        let names = ["Twice", "a", "b", "c", "d"];
        let mut model = self::model(names.windows(2).map(|pair| many(pair[0], pair[1])).collect());
        assert!(functions(&mut model).unwrap_err().contains("million"));
        // Calls count although the last function holds nothing, and so do long names.
        let mut none: Vec<FunctionProto> =
            names.windows(2).map(|pair| many(pair[0], pair[1])).collect();
        none.push(function("d", Vec::new()));
        assert!(functions(&mut self::model(none)).unwrap_err().contains("million"));
        let long = "n".repeat(1 << 20);
        let mut named = vec![many("Twice", "a"), many("a", "Relu")];
        named[1].node.iter_mut().for_each(|node| node.name.clone_from(&long));
        assert!(functions(&mut self::model(named)).unwrap_err().contains("64 MB"));
    }
}
