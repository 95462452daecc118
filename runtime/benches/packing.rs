//! How long packing weights takes: `cargo bench --workspace --bench packing`.
//!
//! A device packs weights whenever its share grows, and frames may wait for that. For a fifth of VGG16's
//! first dense layer and for its largest convolutions, prints the median time per byte of weights, from
//! memory, next to what copying the same bytes to fresh memory takes.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use edgeld_runtime::graph::{LayerId, Op, ParameterId};
use edgeld_runtime::kernel::{KernelKind, Kernels};
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::region::{ChannelRange, Region, RowRange};
use edgeld_runtime::weights::{WeightError, WeightSource};

/// Runs of each measurement.
const RUNS: usize = 9;

/// Rows of a parameter that were read before.
struct Memory(Vec<(ParameterId, usize, Vec<u8>)>);

impl WeightSource for Memory {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let missing = || WeightError::Missing("it was not read before".to_owned());
        let known = self.0.iter().find(|(id, ..)| *id == parameter);
        let (_, row, bytes) = known.ok_or_else(missing)?;
        let wanted = features.start as usize * row..features.end as usize * row;
        out.extend_from_slice(bytes.get(wanted).ok_or_else(missing)?);
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = models::open("vgg16", &Options::default())?;
    let graph = &model.graph;
    println!("layer        MB   ns a byte   copied: ns a byte");
    for (name, share, rows) in [("fc6", 816, 1), ("conv4_2", 512, 6), ("conv5_1", 512, 3)] {
        let index = graph.layers().iter().position(|layer| layer.name == name);
        let Some(index) = index else { continue };
        let (id, layer) = (LayerId(index as u32), &graph.layers()[index]);
        let Op::Conv(_) = &layer.op else { continue };
        let features = ChannelRange::new(0, share);
        let mut held = Vec::new();
        for parameter in layer.op.parameters() {
            let mut bytes = Vec::new();
            model.weights.read(parameter, features, &mut bytes)?;
            held.push((parameter, bytes.len() / share as usize, bytes));
        }
        let bytes: usize = held.iter().map(|(.., bytes)| bytes.len()).sum();
        let source = Memory(held);
        let regions = BTreeMap::from([(id, Region::new(features, RowRange::new(0, rows)))]);
        let pack = || Kernels::prepare(graph, &regions, &source, KernelKind::Fast, &[]).map(drop);
        pack()?;
        let packed = median(|| drop(black_box(pack())));
        let copied = median(|| {
            source.0.iter().for_each(|(.., bytes)| drop(black_box(bytes.clone())));
        });
        let per_byte = |nanoseconds: f64| nanoseconds / bytes as f64;
        println!(
            "{name:8} {:6.1} {:11.2} {:19.2}",
            bytes as f64 / 1e6,
            per_byte(packed),
            per_byte(copied)
        );
    }
    Ok(())
}

/// In nanoseconds.
fn median(mut run: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64() * 1e9
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}
