//! A strip equals the whole: three devices compute some rows each, and the answer has the same
//! bits as that of one device.
//!
//! The devices run in one thread; what they send each other goes through the wire format.

use std::error::Error;

use edgeld_runtime::exec::{Input, local::LocalCluster};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::{Cuts, DeviceIx, Plan, Split, Stage};

fn main() -> Result<(), Box<dyn Error>> {
    let model = models::open("vgg11?size=64&classes=10", &Options::default())?;
    let layers = model.graph.layers().len() as u32;
    let pixel = |index: u32| (index.wrapping_mul(2_654_435_761) >> 24) as f32 / 255.0;
    let input = [Input::from((0..3 * 64 * 64).map(pixel).collect::<Vec<f32>>())];
    let infer = |plan: &Plan| {
        let (graph, weights) = (&model.graph, &*model.weights);
        LocalCluster::new(graph, &[], plan, weights, KernelKind::Exact)?.infer(&input)
    };

    // Four layers fused, 16 rows high at their end, cut into 6, 7 and 3 rows; the rest is whole.
    let fused = Stage { layers: 0..4, split: Split::Rows(Cuts::from_lengths([6, 7, 3])) };
    let rest = Stage { layers: 4..layers, split: Split::Whole(DeviceIx::LEADER) };
    let strips = Plan::new(3, vec![fused, rest]);

    let (whole, strips) = (infer(&Plan::alone(layers))?, infer(&strips)?);
    println!("whole:  {:?}", &whole.outputs[0][..3]);
    println!("strips: {:?}, {} moved", &strips.outputs[0][..3], strips.bytes_moved);
    let bits = |logits: &[f32]| logits.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&whole.outputs[0]), bits(&strips.outputs[0]));
    Ok(())
}
