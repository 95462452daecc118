//! Tables for people: devices, plans, layers.

use std::collections::BTreeMap;

use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, Table, presets};
use edgeld::face::{DeviceInfo, DeviceState, PlanInfo, StageInfo};
use edgeld_runtime::units::{Bytes, Ms};

use super::events::BenchLayer;

fn table(headers: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headers.iter().map(|header| Cell::new(header).add_attribute(Attribute::Bold)));
    table
}

fn right(text: impl ToString) -> Cell {
    Cell::new(text).set_alignment(CellAlignment::Right)
}

fn or_dash(value: Option<String>) -> Cell {
    right(value.unwrap_or_else(|| "-".to_owned()))
}

/// Who is there.
pub fn devices(devices: &[DeviceInfo]) -> Table {
    let mut table =
        table(&["device", "address", "found", "state", "GFLOP/s", "Mbit/s", "rtt", "memory"]);
    for device in devices {
        let name =
            if device.leader { format!("{} (leader)", device.name) } else { device.name.clone() };
        table.add_row([
            Cell::new(name),
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

/// A value's name as it stands in the JSON lines.
pub fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Who computes what: a row per stage, a column per device. Stages that are shared out alike are
/// not repeated.
pub fn plan(plan: &PlanInfo, names: &BTreeMap<String, String>) -> Table {
    let mut devices: Vec<&str> = Vec::new();
    for share in plan.stages.iter().flat_map(|stage| &stage.shares) {
        if !devices.contains(&share.device.as_str()) {
            devices.push(&share.device);
        }
    }
    let shown = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let headings: Vec<String> = devices.iter().map(|id| shown(id)).collect();
    let mut headers = vec!["stage", "layers", "split"];
    headers.extend(headings.iter().map(String::as_str));
    headers.extend(["redundant", "moved"]);
    let mut table = table(&headers);
    for (index, stage) in plan.stages.iter().enumerate() {
        let mut row = vec![right(index), Cell::new(layers(stage)), Cell::new(stage.split)];
        row.extend(devices.iter().map(|device| {
            let share = stage.shares.iter().find(|share| share.device == *device);
            or_dash(share.map(|share| format!("{}..{}", share.from, share.to)))
        }));
        row.push(right(format!("{:.2} GFLOP", stage.redundant.giga())));
        row.push(right(stage.bytes_in));
        table.add_row(row);
    }
    table
}

/// The layers of a stage, in few words.
fn layers(stage: &StageInfo) -> String {
    match stage.layers.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, .., last] => format!("{first} .. {last} ({})", stage.layers.len()),
    }
}

/// What a plan promises, in a line.
pub fn promise(plan: &PlanInfo) -> String {
    let alone = plan.alone.map_or_else(
        || "the leader alone cannot hold the model".to_owned(),
        |alone| format!("{alone} alone"),
    );
    let moved: Bytes = plan.stages.iter().map(|stage| stage.bytes_in).sum();
    let exact = if plan.exact { ", bit for bit the answer of one device" } else { "" };
    format!("{} predicted, {alone}; {moved} move a frame{exact}", plan.predicted)
}

/// Layers and what they took.
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
