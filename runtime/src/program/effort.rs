//! How much work deriving programs is, without doing it.
//!
//! Devices derive the plans that others send them. One that is valid, but so large that deriving it
//! would keep a device busy, must be refused at a glance.

use crate::graph::Graph;
use crate::plan::Plan;

/// About how many small steps [`derive`](super::derive) takes: for every stage, device and piece it
/// looks at every tensor and every other device, and for every layer of a stage at every row.
pub fn derivation_effort(graph: &Graph, plan: &Plan) -> u64 {
    let devices = u64::from(plan.devices);
    let looks = devices.saturating_mul(graph.tensor_count() as u64 + devices);
    let layers = graph.layers().len() as u32;
    let rows = plan.stages.iter().map(|stage| {
        let last = stage.last_layer();
        let rows = if last.0 < layers { graph.output_shape(last).rows } else { 0 };
        u64::from(rows).saturating_mul(stage.layers.len() as u64)
    });
    let looks = looks.saturating_mul(u64::from(plan.pieces.get()));
    rows.fold(looks.saturating_mul(plan.stages.len() as u64), u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Activation, Builder, Op, Pool, Reduction, Shape, Sweep, Window};
    use crate::plan::{DeviceIx, Split, Stage};

    /// A chain of windows over maps of so many rows.
    fn chain(rows: u32) -> Graph {
        let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
        let blur = Op::Pool(Pool { reduction: Reduction::Max, window: Window::square(three) });
        let dims = vec![1, 1, u64::from(rows), 8];
        let mut builder = Builder::new("chain");
        let mut tensor = builder.input("x", Shape::new(1, rows, 8), dims.clone()).unwrap();
        for layer in 0..5 {
            let name = format!("layer {layer}");
            tensor = builder.layer(&name, blur.clone(), &[tensor], Activation::Linear).unwrap();
        }
        builder.output("y", tensor, dims).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn it_grows_with_layers_devices_and_rows() {
        let graph = chain(32);
        let layers = graph.layers().len() as u32;
        let whole = |layers| Stage { layers, split: Split::Whole(DeviceIx(0)) };
        let layerwise = |devices| {
            Plan::new(devices, (0..layers).map(|layer| whole(layer..layer + 1)).collect())
        };
        let fused = |devices| Plan::new(devices, vec![whole(0..layers)]);
        assert!(derivation_effort(&graph, &layerwise(4)) > derivation_effort(&graph, &fused(4)));
        assert!(derivation_effort(&graph, &fused(8)) > derivation_effort(&graph, &fused(4)));
        let taller = derivation_effort(&chain(64), &layerwise(4));
        assert!(taller > derivation_effort(&graph, &layerwise(4)));
        // A plan that does not fit the graph is refused elsewhere.
        let broken = Plan::new(1, vec![whole(layers..layers + 1)]);
        assert!(derivation_effort(&graph, &broken) > 0);
    }
}
