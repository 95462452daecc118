//! Puts nodes behind those whose results they read.
//!
//! Files should hold them so, but converters append casts at the end.

use std::collections::{BTreeSet, HashMap};

use super::proto::{GraphProto, NodeProto};

/// Sorts the nodes of a graph; those that are in order already stay as they are. Nodes that wait for
/// each other in circles come last.
pub(super) fn topologically(graph: &mut GraphProto) {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (index, node) in graph.node.iter().enumerate() {
        makers.extend(
            node.output.iter().filter(|name| !name.is_empty()).map(|n| (n.as_str(), index)),
        );
    }
    let mut waiting: Vec<usize> = vec![0; graph.node.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); graph.node.len()];
    for (index, node) in graph.node.iter().enumerate() {
        let mut read = BTreeSet::new();
        makers_of(node, &makers, &mut read);
        read.remove(&index);
        waiting[index] = read.len();
        read.into_iter().for_each(|maker| readers[maker].push(index));
    }
    let mut ready: BTreeSet<usize> = (0..waiting.len()).filter(|at| waiting[*at] == 0).collect();
    let mut order = Vec::with_capacity(waiting.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for reader in &readers[index] {
            waiting[*reader] -= 1;
            if waiting[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    order.extend((0..waiting.len()).filter(|index| waiting[*index] > 0));
    if order.is_sorted() {
        return;
    }
    let mut nodes: Vec<Option<NodeProto>> =
        std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|index| nodes[index].take()).collect();
}

/// The nodes that make what a node reads, in its branches too.
fn makers_of(node: &NodeProto, makers: &HashMap<&str, usize>, read: &mut BTreeSet<usize>) {
    read.extend(node.input.iter().filter_map(|name| makers.get(name.as_str()).copied()));
    let graphs = node.attribute.iter().filter_map(|attribute| attribute.g.as_ref());
    for graph in graphs {
        let names = graph.output.iter().map(|output| output.name.as_str());
        read.extend(names.filter_map(|name| makers.get(name).copied()));
        graph.node.iter().for_each(|node| makers_of(node, makers, read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(nodes: &[(&str, &str)]) -> Vec<String> {
        let node = |(input, output): &(&str, &str)| NodeProto {
            input: vec![(*input).to_owned()],
            output: vec![(*output).to_owned()],
            ..NodeProto::default()
        };
        let node = nodes.iter().map(node).collect();
        let mut graph = GraphProto { node, ..GraphProto::default() };
        topologically(&mut graph);
        graph.node.into_iter().map(|mut node| node.output.remove(0)).collect()
    }

    #[test]
    fn readers_come_behind_makers_and_all_else_stays() {
        assert_eq!(sorted(&[("x", "b"), ("x", "a")]), ["b", "a"]);
        assert_eq!(sorted(&[("b", "c"), ("a", "b"), ("x", "a")]), ["a", "b", "c"]);
        assert_eq!(sorted(&[("d", "c"), ("c", "d"), ("x", "a")]), ["a", "c", "d"]);
    }
}
