//! How fast this machine is, and how much of it makes a device of the paper.

use std::time::{SystemTime, UNIX_EPOCH};

use edgeld::{Pace, Pool, VERSION};
use edgeld_runtime::graph::{Graph, LayerId, Op};
use edgeld_runtime::kernel::{KernelKind, Scratch, Setup};
use edgeld_runtime::plan::Plan;
use edgeld_runtime::units::Ms;

use super::super::events::Times;
use super::super::exit::Exit;
use super::super::stage_times::{FrameTimes, inputs, prepare, stage_per_layer, time_frame};
use super::experiment::{MOST, SIZE, SIZES};
use super::failure::failed;
use super::lan::network;
use super::published;
use super::record::{Convolution, Settings};

/// Frames by which the machine is judged, after one to warm up; the shortest times count.
const ROUNDS: usize = 3;

/// Cores that the leader and its thread of messages need beside the followers.
const LEADER: f64 = 0.5;

/// Times every convolution of VGG16 at all sizes, and chooses the pace at which one follower takes a
/// `scale`-th of the time that it takes in the paper.
///
/// ```text
/// 13 convolutions at 224 pixels on one thread    310 ms
/// in the paper                                   23 s; a tenth of that is 2.3 s
/// so a follower computes                         310 / 2300 = 13 % of the time
/// at that pace they take                         3.0 s, as pauses cool caches
/// so it computes                                 13 % x 3.0 / 2.3 = 17 % of the time
/// ```
///
/// # Errors
/// When the machine is too slow for that.
pub fn calibrate(scale: f64, frames: u32) -> Result<Settings, Exit> {
    let pool = Pool::new(1).map_err(failed)?;
    let (mut convolutions, mut alone) = (Vec::new(), Ms::ZERO);
    for size in SIZES {
        let timed = time_convolutions(size, &pool)?;
        if size == SIZE {
            alone = timed.iter().map(|convolution| convolution.time).sum();
        }
        convolutions.extend(timed);
    }
    let part = alone.0 * scale / (published::COMPUTING * 1e3);
    let cores = Pool::all_cores() as f64;
    let most = scale * (1.0 / part).min((cores - LEADER) / (part * f64::from(MOST)));
    let pace = Pace::new(part).filter(|_| scale <= most).ok_or_else(|| {
        Exit::failed(
            format_args!(
                "this machine, with {cores} cores, can emulate {MOST} followers that are {most:.1} times as \
                 fast as the paper's, not {scale}"
            ),
            match most >= 1.0 {
                true => format!("give --scale {:.0}", most.floor()),
                false => "use a faster machine".to_owned(),
            },
        )
    })?;
    let pace = corrected(pace, Ms(published::COMPUTING * 1e3 / scale))?;
    Ok(Settings {
        version: VERSION.to_owned(),
        scale,
        frames,
        pace: pace.part(),
        machine: machine(),
        date: today(),
        convolutions,
    })
}

/// A pace at which the convolutions take a device as long as they should, from one at which they would if
/// its caches were as warm as those of one that never rests.
fn corrected(pace: Pace, wanted: Ms) -> Result<Pace, Exit> {
    let pool = Pool::new(1).map_err(failed)?.paced(pace);
    let model = network(16, SIZE)?.model().map_err(failed)?;
    let alone = Plan::alone(model.graph.layers().len() as u32);
    let prepared = prepare(&model, &alone, Setup::from(KernelKind::Fast), None)?;
    let (inputs, mut scratch) = (inputs(&model.graph), Scratch::new());
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        times.push(time_frame(&prepared, &inputs, &mut scratch, &pool)?.total);
    }
    let slower = Times::of(&times).map_or(1.0, |times| times.median / wanted);
    Ok(Pace::new(pace.part() * slower).unwrap_or(pace))
}

/// The convolutions of VGG16 at this size, each timed by itself.
fn time_convolutions(size: u32, pool: &Pool) -> Result<Vec<Convolution>, Exit> {
    let model = network(16, size)?.model().map_err(failed)?;
    let graph = &*model.graph;
    let prepared = prepare(&model, &stage_per_layer(graph), Setup::from(KernelKind::Fast), None)?;
    let (inputs, mut scratch) = (inputs(graph), Scratch::new());
    time_frame(&prepared, &inputs, &mut scratch, pool)?;
    let mut shortest = vec![Ms(f64::INFINITY); graph.layers().len()];
    for _ in 0..ROUNDS {
        let FrameTimes { stages, .. } = time_frame(&prepared, &inputs, &mut scratch, pool)?;
        for (shortest, time) in shortest.iter_mut().zip(stages) {
            *shortest = shortest.min(time);
        }
    }
    let layers = graph.layer_ids().zip(shortest);
    let convolution =
        |(layer, time)| Some(Convolution { flops: published_flops(graph, layer)?, time });
    Ok(layers.filter_map(convolution).collect())
}

/// The operations of a convolution by the paper's first formula, 2 H W (Cin K^2 + 1) Cout; `None` for
/// another layer.
fn published_flops(graph: &Graph, layer: LayerId) -> Option<f64> {
    let Op::Conv(conv) = &graph.layer(layer).op else { return None };
    let shape = graph.output_shape(layer);
    let cells = f64::from(shape.rows) * f64::from(shape.width);
    let row = f64::from(graph.parameter(conv.weight).row);
    Some(2.0 * cells * (row + 1.0) * f64::from(conv.features))
}

/// The processor's name, if the system tells it, and its cores.
fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let name = name.map_or(std::env::consts::ARCH, |(_, name)| name.trim());
    format!("{name}, {} cores", Pool::all_cores())
}

/// The date, as ISO 8601 has it.
fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = time::OffsetDateTime::UNIX_EPOCH + since;
    now.date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_as_in_the_paper() {
        let model = network(16, 224).unwrap().model().unwrap();
        let graph = &*model.graph;
        // conv1_1: 3 to 64 channels on 224 x 224.
        let first = 2.0 * 224.0 * 224.0 * 28.0 * 64.0;
        assert_eq!(published_flops(graph, LayerId(0)), Some(first));
        let counted = graph.layer_ids().filter_map(|layer| published_flops(graph, layer));
        assert_eq!(counted.count(), 13);
    }
}
