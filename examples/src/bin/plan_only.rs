//! Plans without a network: who would compute what of VGG16 on three described devices, and why.

use std::error::Error;

use edgeld_runtime::cost::{ClusterProfile, DeviceProfile, LinkProfile};
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::{DeviceIx, Split};
use edgeld_runtime::region::RowRange;
use edgeld_runtime::solve::{Policy, Problem, explain, solve};
use edgeld_runtime::units::{Mbps, Ms};

fn main() -> Result<(), Box<dyn Error>> {
    let model = models::open("vgg16", &Options::default())?;
    let names = ["desk", "laptop", "board"].map(str::to_owned);
    // GFLOP/s in convolutions, GB/s of dense weights, Mbit/s.
    let speeds = [(100.0, 10.0, 1000.0), (60.0, 8.0, 1000.0), (10.0, 2.0, 100.0)];
    let profile = ClusterProfile::new(speeds.map(|(gflops, dense, link)| {
        let link = LinkProfile::described(Mbps(link), Ms(0.3));
        (DeviceProfile::described(gflops, dense), link)
    }));

    for spread in [false, true] {
        let policy = Policy { spread, ..Policy::default() };
        let encodings: Vec<_> = model.preset.iter().map(|preset| preset.encoding()).collect();
        let problem = Problem {
            graph: &model.graph,
            encodings: &encodings,
            profile: &profile,
            policy,
            previous: None,
        };
        let solution = solve(&problem)?;
        println!("\nspread: {spread}");
        println!("{}", explain(&problem, &solution, &names)?.join("\n"));
        for stage in &solution.plan.stages {
            let last = &model.graph.layer(stage.last_layer()).name;
            match &stage.split {
                Split::Rows(cuts) => {
                    let devices = solution.plan.device_ids();
                    let rows: Vec<RowRange> = devices.map(|device| cuts.range(device)).collect();
                    println!("  to {last}: rows {rows:?}");
                }
                Split::Features(cuts) => println!("  to {last}: features {:?}", cuts.boundaries()),
                Split::Whole(DeviceIx(device)) => {
                    println!("  to {last}: all on {}", names[usize::from(*device)]);
                }
            }
        }
    }
    Ok(())
}
