//! Human-readable tables: devices, plans, layers.

use std::collections::BTreeMap;

use comfy_table::{
    Attribute, Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle,
};
use edgeld::{DeviceInfo, DeviceState, PlanInfo, StageInfo};
use edgeld_runtime::plan::InFlight;
use edgeld_runtime::units::{Bytes, Ms};

use super::events::{BenchLayer, InspectedOperator, Unsupported};

/// Only a line below the header, so that a plan for four devices fits in 80 columns.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Longer layer names are truncated in tables; JSON lines have them in full.
const LONGEST_NAME: usize = 16;

fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(headers.iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
    }
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn or_dash(value: Option<String>) -> Cell {
    right(value.unwrap_or_else(|| "-".to_owned()))
}

/// The devices and their measurements.
pub fn devices(devices: &[DeviceInfo]) -> Table {
    let mut table =
        table(&["device", "address", "found", "state", "GFLOP/s", "Mbit/s", "rtt", "memory"]);
    for device in devices {
        table.add_row([
            Cell::new(&device.name),
            Cell::new(&device.address),
            Cell::new(word(&device.found)),
            Cell::new(word(&device.state)).add_attribute(match device.state {
                DeviceState::Active => Attribute::Bold,
                _ => Attribute::NormalIntensity,
            }),
            or_dash(device.gflops.map(|gflops| format!("{gflops:.1}"))),
            or_dash(device.goodput.map(|goodput| format!("{:.0}", goodput.0))),
            or_dash(device.rtt.map(|rtt| format!("{:.2} ms", rtt.0))),
            right(device.memory),
        ]);
    }
    table
}

/// A value's name, as in the JSON lines.
pub fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// A plan. Each row is a stage: its first layer and how many follow; for each device, its rows (or
/// features) of the stage's last layer; the redundant GFLOP; the payload moved.
pub fn plan(plan: &PlanInfo, names: &BTreeMap<String, String>) -> Table {
    let mut devices: Vec<&str> = Vec::new();
    for share in plan.stages.iter().flat_map(|stage| &stage.shares) {
        if !devices.contains(&share.device.as_str()) {
            devices.push(&share.device);
        }
    }
    let name = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let headings: Vec<String> = devices.iter().map(|id| name(id)).collect();
    let mut headers = vec!["#", "layers", "split"];
    headers.extend(headings.iter().map(String::as_str));
    headers.extend(["extra GFLOP", "kB moved"]);
    let mut table = table(&headers);
    for (index, stage) in plan.stages.iter().enumerate() {
        let mut row = vec![right(index), Cell::new(layers(stage)), Cell::new(stage.split)];
        row.extend(devices.iter().map(|device| {
            let share = stage.shares.iter().find(|share| share.device == *device);
            or_dash(share.map(|share| format!("{}..{}", share.from, share.to)))
        }));
        row.push(right(format!("{:.2}", stage.redundant.giga())));
        row.push(right(format!("{:.0}", stage.bytes_in.as_f64() / 1e3)));
        table.add_row(row);
    }
    table
}

/// The device that computes whole frames under a plan, while others do the same side by side with it.
pub fn whole_frames_on(plan: &PlanInfo, names: &BTreeMap<String, String>) -> Option<String> {
    let share = plan.stages.first()?.shares.first().filter(|_| plan.part_of_frames < 1.0)?;
    Some(names.get(&share.device).unwrap_or(&share.device).clone())
}

/// The layers of a stage, in short: the first, and how many follow.
fn layers(stage: &StageInfo) -> String {
    let Some((first, rest)) = stage.layers.split_first() else { return String::new() };
    let mut text: String = first.chars().take(LONGEST_NAME).collect();
    if text.len() < first.len() {
        text.push('…');
    }
    if !rest.is_empty() {
        text.push_str(&format!(" +{}", rest.len()));
    }
    text
}

/// A plan's predicted time, rate and traffic, in one line.
pub fn prediction(plan: &PlanInfo) -> String {
    let alone = plan.alone.map_or_else(
        || "too large for the leader alone".to_owned(),
        |alone| format!("{alone} alone"),
    );
    let moved: Bytes = plan.stages.iter().map(|stage| stage.bytes_in).sum();
    let exact = if plan.exact { ", bit-identical to one device" } else { "" };
    let rate = match plan.part_of_frames < 1.0 || plan.in_flight > InFlight::ONE {
        true => format!(
            "; {:.0} % of {:.2} frames a second, {} at once",
            plan.part_of_frames * 100.0,
            plan.frames_per_second,
            plan.in_flight
        ),
        false => String::new(),
    };
    format!("{} predicted, {alone}{rate}; {moved} moved per frame{exact}", plan.predicted)
}

/// Operators, and how their layers may be divided.
pub fn operators(operators: &[InspectedOperator<'_>]) -> Table {
    let mut table = table(&["operator", "nodes", "split"]);
    for operator in operators {
        table.add_row([
            Cell::new(operator.name),
            right(operator.count),
            Cell::new(word(&operator.split)),
        ]);
    }
    table
}

/// Nodes that are not supported.
pub fn unsupported(nodes: &[Unsupported<'_>]) -> Table {
    let mut table = table(&["not supported", "operator", "reason"]);
    for node in nodes {
        table.add_row([Cell::new(node.node), Cell::new(node.operator), Cell::new(&node.reason)]);
    }
    table
}

/// Layers and their times.
pub fn layer_times(layers: &[BenchLayer<'_>], total: Ms) -> Table {
    let mut table = table(&["layer", "op", "algorithm", "ms", "%", "GFLOP/s"]);
    for layer in layers {
        table.add_row([
            Cell::new(layer.name),
            Cell::new(layer.op),
            Cell::new(layer.algorithm),
            right(format!("{:.3}", layer.ms.0)),
            right(format!("{:.1}", 100.0 * (layer.ms / total))),
            right(format!("{:.1}", layer.gflops)),
        ]);
    }
    table
}
