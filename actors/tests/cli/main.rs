//! The `edgeld` command from outside: exit codes, messages, JSON lines.

mod place;
mod tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use place::{
    ASSETS, Place, SMALL, WorkerProcess, coffee, has_fields, network, network_without_preset, npy,
};

#[test]
fn wrong_usage_is_exit_2() {
    let place = Place::new();
    place.fails(2, &["run", SMALL, "random:1", "--frobnicate"], &["--frobnicate", "--help"]);
    place.fails(2, &["run", SMALL], &["required"]);
    place.fails(2, &["run", SMALL, "random:soon"], &["random:7"]);
    place.fails(2, &["run", SMALL, "random:1", "--crop", "2"], &["crop"]);
    place.fails(2, &["run", SMALL, "random:1", "--mean", "1,2,3"], &["--std"]);
    place.fails(2, &["run", SMALL, "random:1", "--alone", "--devices", "2"], &["--devices"]);
    place.fails(2, &["run", SMALL, "random:1", "--repeat", "0"], &["repeat"]);
    place.fails(2, &["run", SMALL, "random:1", "--wire", "f8"], &["--wire", "f16"]);
    let burn = ["--kernels", "burn", "--weights", "f16"];
    place.fails(2, &[&["run", SMALL, "random:1"], &burn[..]].concat(), &["burn", "--weights f32"]);
    place.fails(2, &[&["bench", "local", SMALL], &burn[..]].concat(), &["burn", "--weights f32"]);
    for wrong in ["0", "65", "x"] {
        let arguments = ["run", SMALL, "random:1", "--in-flight", wrong];
        place.fails(2, &arguments, &["in-flight", "from 1 to 64"]);
    }
    place.fails(2, &["dance"], &["dance"]);
    assert_eq!(place.edgeld(&[]).code, Some(2));
}

#[test]
fn help_teaches_by_example() {
    let place = Place::new();
    for command in ["run", "worker", "devices", "inspect", "plan", "bench", "man", "demo"] {
        let done = place.succeeds(&[command, "--help"]);
        assert!(done.stdout.contains("Examples:"), "{command}");
    }
    assert!(place.succeeds(&["--version"]).stdout.starts_with("edgeld "));
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    let pages = place.folder.path().join("pages");
    place.succeeds(&["man", "--out", &pages.to_string_lossy()]);
    for page in ["edgeld.1", "edgeld-worker.1", "edgeld-bench-paper.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(text.contains("EDGELD"), "{page}: {text}");
    }
}

#[test]
fn the_log_is_json_where_that_is_asked_for() {
    let place = Place::new();
    let arguments = ["run", SMALL, "random:1", "--alone", "--log-format", "json"];
    let output = place.command(&arguments).env("RUST_LOG", "debug").output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    let mut entries = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    assert!(entries.any(|entry: serde_json::Value| entry["level"] == "DEBUG"), "{log}");
}

#[test]
fn a_report_on_the_paper_is_not_begun_with_nonsense() {
    let place = Place::new();
    let out = place.folder.path().join("report");
    let out = out.to_string_lossy();
    for flags in [["--scale", "0"], ["--scale", "x"], ["--frames", "0"]] {
        place.fails(2, &["bench", "paper", "--out", &out, flags[0], flags[1]], &[flags[1]]);
    }
    let file = place.file("report.txt", b"");
    place.fails(1, &["bench", "paper", "--out", &file], &["report.txt"]);
}

#[test]
fn models_that_cannot_be_read_are_exit_3() {
    let place = Place::new();
    let refused = |model: &str, words: &[&str]| {
        place.fails(3, &["run", model, "random:1", "--alone"], words);
        place.fails(3, &["bench", "local", model], words);
    };
    refused("nowhere.onnx", &["nowhere.onnx"]);
    refused("vgg12", &["vgg12"]);
    refused("vgg16?size=1", &["size"]);
    refused("vgg16?colour=red", &["colour"]);
    let garbage = place.file("garbage.onnx", b"this is no model at all");
    refused(&garbage, &["garbage.onnx"]);
    let empty = place.file("empty.onnx", b"");
    refused(&empty, &["empty.onnx"]);
    let folder = place.folder.path().to_string_lossy().into_owned();
    refused(&folder, &[]);
}

#[test]
fn truncated_models_are_exit_3() {
    let place = Place::new();
    let whole = network();
    for part in [10, 1000, whole.len() / 2, whole.len() - 1000] {
        let truncated = place.file("truncated.onnx", &whole[..part]);
        place.fails(3, &["run", &truncated, &coffee(), "--alone"], &["truncated.onnx"]);
    }
}

#[test]
fn inputs_that_cannot_be_used_are_exit_3() {
    let place = Place::new();
    let refused = |input: &str, words: &[&str]| {
        place.fails(3, &["run", SMALL, input, "--alone"], words);
    };
    refused("nowhere.png", &["nowhere.png"]);
    refused(&place.file("note.png", b"no picture"), &["note.png", "png and jpeg"]);
    let truncated = &fs::read(coffee()).unwrap()[..100];
    refused(&place.file("half.jpg", truncated), &["half.jpg"]);
    refused(&place.file("wrong.npy", npy(&[1, 3, 8, 8])), &["wrong.npy", "[1, 3, 32, 32]"]);
    refused(&place.file("text.npy", b"text"), &["text.npy"]);
    let labels = place.path("nowhere.txt").to_string_lossy().into_owned();
    place.fails(3, &["run", SMALL, "random:1", "--labels", &labels], &["nowhere.txt"]);
    let file = place.path("nowhere/trace.json").to_string_lossy().into_owned();
    place.fails(1, &["run", SMALL, "random:1", "--alone", "--trace", &file], &["--trace", &file]);
}

#[test]
fn a_picture_needs_to_know_its_scale() {
    let place = Place::new();
    let model = place.file("plain.onnx", network_without_preset());
    place.fails(2, &["run", &model, &coffee(), "--alone"], &["--preset", "--mean", "--std"]);
}

#[test]
fn a_run_tells_its_events_in_order() {
    let place = Place::new();
    let arguments = ["run", SMALL, "random:1", "random:2", "--alone", "--repeat", "2"];
    let saved = place.path("out");
    let more = ["--warmup", "1", "--compare", "--json", "--threads", "1", "--save"];
    let arguments = [&arguments[..], &more, &[saved.to_str().unwrap()]].concat();
    let done = place.succeeds(&arguments);
    for line in &done.lines {
        has_fields(line, &["event", "t"]);
    }
    let mut events: Vec<&str> = Vec::new();
    for event in done.events() {
        // The cluster is told of again whenever a measurement changes it.
        if !events.contains(&event) {
            events.push(event);
        }
    }
    assert_eq!(events, ["model", "cluster", "plan", "frame", "summary"]);
    assert_eq!(done.events().last(), Some(&"summary"));

    let model = done.event("model");
    has_fields(model, &["name", "source", "inputs", "outputs", "layers", "gflop", "weights_bytes"]);
    assert_eq!(model["inputs"][0]["shape"], serde_json::json!([1, 3, 32, 32]));
    let fields = ["id", "name", "address", "leader", "found", "state", "gflops", "goodput_mbps"];
    has_fields(&done.event("cluster")["devices"][0], &fields);
    let plan = done.event("plan");
    let fields = ["generation", "reason", "partition", "fusion", "exchange", "exact"];
    has_fields(plan, &fields);
    has_fields(plan, &["wire", "weights"]);
    has_fields(plan, &["predicted_ms", "in_flight", "frames_per_second", "alone_ms", "stages"]);
    assert_eq!(plan["reason"], "start");
    let fields = ["layers", "split", "shares", "redundant_gflop", "bytes_in"];
    has_fields(&plan["stages"][0], &fields);

    let frames: Vec<&Value> = done.lines.iter().filter(|line| line["event"] == "frame").collect();
    let numbers: Vec<u64> = frames.iter().map(|frame| frame["frame"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert_eq!([&frames[0]["input"], &frames[3]["input"]], ["random:1", "random:2"]);
    has_fields(frames[0], &["generation", "retries", "total_ms", "bytes_moved", "outputs"]);
    let top = frames[0]["outputs"][0]["top"].as_array().unwrap();
    assert_eq!(top.len(), 5);
    has_fields(&top[0], &["index", "label", "score"]);
    assert!(
        saved.join("frame3_output0.npy").exists() && !saved.join("frame4_output0.npy").exists()
    );

    let summary = done.event("summary");
    assert_eq!([&summary["frames"], &summary["lost"]], [4, 0]);
    assert_eq!(summary["max_abs_diff"], 0.0);
    assert!(summary["max_abs"].as_f64().unwrap() > 0.0);
    has_fields(summary, &["retried", "prediction_error", "speedup", "frames_per_second"]);
    has_fields(&summary["alone_ms"], &["min", "median", "max"]);
    has_fields(&summary["total_ms"], &["min", "median", "max"]);
}

#[test]
fn frames_that_overlap_are_told_of_in_order() {
    let place = Place::new();
    let arguments = ["run", SMALL, "random:1", "random:2", "--repeat", "4", "--warmup", "1"];
    let more = ["--in-flight", "3", "--alone", "--threads", "1", "--compare", "--json"];
    let done = place.succeeds(&[&arguments[..], &more].concat());
    let frames = done.lines.iter().filter(|line| line["event"] == "frame");
    let told: Vec<(u64, &str)> = frames
        .map(|frame| (frame["frame"].as_u64().unwrap(), frame["input"].as_str().unwrap()))
        .collect();
    let inputs = ["random:1", "random:2"].into_iter().flat_map(|input| [input; 4]);
    assert_eq!(told, (0..).zip(inputs).collect::<Vec<_>>());
    let plans: Vec<&Value> = done.lines.iter().filter(|line| line["event"] == "plan").collect();
    assert_eq!(plans.last().unwrap()["in_flight"], 3);
    let summary = done.event("summary");
    assert_eq!([&summary["frames"], &summary["lost"]], [8, 0]);
    assert_eq!(summary["max_abs_diff"], 0.0);
    assert!(summary["frames_per_second"].as_f64().unwrap() > 0.0);
    assert!(summary["prediction_error"].is_number());
}

#[test]
fn a_trace_shows_what_every_device_did_within_its_frame() {
    let place = Place::new();
    let workers = ["w0", "w1"].map(|name| WorkerProcess::start(&place, name));
    let file = place.path("trace.json");
    let arguments = ["run", SMALL, "random:1", "--repeat", "3", "--warmup", "1", "--spread"];
    let peers = ["--no-mdns", "--peer", &workers[0].address, "--peer", &workers[1].address];
    let more = ["--threads", "1", "--json", "--trace", file.to_str().unwrap()];
    let done = place.succeeds(&[&arguments[..], &peers, &more].concat());
    assert_eq!(done.event("summary")["frames"], 3);
    assert!(!done.stderr.contains("trace"), "{}", done.stderr);

    let trace: Vec<Value> = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let names = |kind: &'static str| {
        let named = trace.iter().filter(move |event| event["name"] == kind);
        named.map(|event| (event["pid"].as_u64().unwrap(), event["args"]["name"].clone()))
    };
    let devices: BTreeMap<u64, Value> = names("process_name").collect();
    assert_eq!(devices.len(), 3);
    assert!(["w0", "w1"].iter().all(|name| devices.values().any(|device| device == name)));
    let rows: BTreeSet<(u64, String)> =
        names("thread_name").map(|(pid, row)| (pid, row.as_str().unwrap().to_owned())).collect();
    for device in devices.keys() {
        for row in ["compute", "send", "receive"] {
            assert!(rows.contains(&(*device, row.to_owned())), "{row} of {device}: {rows:?}");
        }
    }

    let of = |event: &Value, field: &str| event[field].as_f64().unwrap();
    let spans: Vec<&Value> = trace.iter().filter(|event| event["ph"] == "X").collect();
    let (frames, steps): (Vec<&Value>, Vec<&Value>) =
        spans.into_iter().partition(|event| event["cat"] == "frame");
    let frames: BTreeMap<u64, &Value> =
        frames.into_iter().map(|event| (event["args"]["frame"].as_u64().unwrap(), event)).collect();
    assert_eq!(frames.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert!(frames.values().all(|frame| frame["pid"] == 1));
    for step in steps {
        let frame = frames[&step["args"]["frame"].as_u64().unwrap()];
        // What begins a step has come from the input, and the answer waits for what it does; but it
        // may end after the answer, as when its strip is under way before it is over.
        let (begun, off) = (of(step, "ts"), of(&step["args"], "clock_error_us") + 0.01);
        let (from, to) = (of(frame, "ts"), of(frame, "ts") + of(frame, "dur"));
        assert!(from - off <= begun && begun <= to + off, "{step} in {frame}");
        assert!(of(step, "dur") >= 0.0);
        let is_strip = step["cat"] == "send" || step["cat"] == "receive";
        assert_eq!(step["args"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), is_strip);
    }
}

#[test]
fn the_network_knows_coffee_when_it_sees_it() {
    let place = Place::new();
    let model = place.file("plain.onnx", network_without_preset());
    let labels = format!("{ASSETS}/imagenet_labels.txt");
    let scale = ["--preset", "lite", "--labels", &labels, "--alone", "--json"];
    let done = place.succeeds(&[&["run", &model, &coffee()], &scale[..]].concat());
    let outputs = done.event("frame")["outputs"].as_array().unwrap();
    let probabilities = outputs.iter().find(|output| output["name"] == "probabilities").unwrap();
    let best = &probabilities["top"][0];
    assert_eq!(best["label"], "espresso");
    assert!((best["score"].as_f64().unwrap() - 0.95).abs() < 0.02, "{best}");
}

#[test]
fn arrays_and_pictures_go_together() {
    let place = Place::new();
    let array = place.file("zeros.npy", npy(&[1, 3, 32, 32]));
    let done = place.succeeds(&["run", SMALL, &array, &coffee(), "--alone", "--json"]);
    assert_eq!(done.events().iter().filter(|event| **event == "frame").count(), 2);
}

#[test]
fn variables_stand_for_flags() {
    let place = Place::new();
    let mut command = place.command(&["run", SMALL, "random:1"]);
    command.env("EDGELD_ALONE", "1").env("EDGELD_REPEAT", "3").env("EDGELD_JSON", "1");
    let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
    assert_eq!(output.lines().filter(|line| line.contains(r#""event":"frame""#)).count(), 3);
}

#[test]
fn wrong_usage_is_told_as_the_variable_wants_it() {
    let place = Place::new();
    for (value, lines) in [("1", 1), ("true", 1), ("yes", 1), ("0", 0), ("false", 0), ("", 0)] {
        let mut command = place.command(&["run", "--no-such-flag"]);
        let output = command.env("EDGELD_JSON", value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert_eq!(stdout.lines().count(), lines, "{value:?}: {stdout}");
    }
}

#[cfg(unix)]
#[test]
fn a_command_that_only_computes_ends_when_interrupted() {
    let place = Place::new();
    let args = ["bench", "local", SMALL, "--repeat", "65535"];
    let mut command = place.command(&args);
    let mut bench = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // It says what the model is when it is under way.
    let mut said = BufReader::new(bench.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    let interrupt = ["-INT".to_owned(), bench.id().to_string()];
    assert!(Command::new("kill").args(interrupt).status().unwrap().success());
    assert_eq!(bench.wait().unwrap().code(), Some(130));
}

#[test]
fn results_for_people_go_to_standard_output_and_all_else_does_not() {
    let place = Place::new();
    let done = place.succeeds(&["run", SMALL, "random:1", "--alone"]);
    assert!(done.stdout.contains("random:1"), "{}", done.stdout);
    assert!(!done.stdout.contains("predicted"), "{}", done.stdout);
    assert!(done.stderr.contains("predicted"), "{}", done.stderr);
    assert!(!done.stdout.contains('\u{1b}') && !done.stderr.contains('\u{1b}'));
}

#[test]
fn a_cluster_that_is_not_there_is_exit_4() {
    let place = Place::new();
    let missing = ["--devices", "2", "--wait", "0.3", "--no-mdns"];
    place.fails(4, &[&["run", SMALL, "random:1"], &missing[..]].concat(), &["edgeld worker"]);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peer = port.to_string();
    let unreachable = ["devices", "--no-mdns", "--wait", "1", "--peer", &peer];
    place.fails(4, &unreachable, &[&peer]);
}

#[test]
fn a_peer_that_is_no_edgeld_is_exit_4() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // What it thinks of the greeting is of no interest; it answers in another language.
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    place.fails(4, &["devices", "--no-mdns", "--wait", "5", "--peer", &peer], &[&peer]);
}

#[test]
fn a_worker_tells_where_it_listens_and_ends_when_interrupted() {
    let place = Place::new();
    let arguments = ["worker", "--listen", "127.0.0.1:0", "--no-mdns", "--name", "w", "--json"];
    let mut worker = place.command(&arguments);
    let mut worker = worker.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
    let listening: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(listening["event"], "listening");
    has_fields(&listening, &["t", "id", "name", "address", "version"]);
    let address = listening["address"].as_str().unwrap().to_owned();

    let taken = ["worker", "--listen", &address, "--no-mdns"];
    place.fails(1, &taken, &[&address, "--listen"]);

    let interrupt = ["-INT".to_owned(), worker.id().to_string()];
    assert!(Command::new("kill").args(interrupt).status().unwrap().success());
    assert_eq!(worker.wait().unwrap().code(), Some(130));
}

#[test]
fn a_worker_beyond_loopback_needs_to_be_told_so() {
    let place = Place::new();
    place.fails(2, &["worker", "--listen", "0.0.0.0:0", "--no-mdns"], &["--insecure", "--key"]);
    // A leader does not go there either; the address is reserved for documentation.
    let elsewhere = ["devices", "--no-mdns", "--peer", "192.0.2.1:7070"];
    place.fails(4, &elsewhere, &["192.0.2.1:7070", "--insecure", "--key"]);
}

#[test]
fn a_bench_has_a_row_per_layer() {
    let place = Place::new();
    let done =
        place.succeeds(&["bench", "local", SMALL, "--repeat", "2", "--threads", "1", "--json"]);
    assert_eq!(done.lines.len(), 1);
    let bench = done.event("bench");
    has_fields(bench, &["model", "threads", "kernels", "weights", "isa", "total_ms", "gflops"]);
    assert!(bench["peak_rss_bytes"].as_u64().unwrap() > 1_000_000);
    let layers = bench["layers"].as_array().unwrap();
    assert!(layers.len() > 11);
    for layer in layers {
        has_fields(layer, &["name", "op", "algorithm", "ms", "gflops"]);
    }
}

/// Three equal devices and one that is a tenth as fast.
const LAN: &str = r#"
[[device]]
name = "a"
gflops = 100.0
dense_gb_per_s = 10.0
link_mbps = 1000.0
latency_ms = 0.3
memory_mb = 4096
[[device]]
name = "b"
gflops = 100.0
dense_gb_per_s = 10.0
link_mbps = 1000.0
latency_ms = 0.3
memory_mb = 4096
[[device]]
name = "slow"
gflops = 10.0
dense_gb_per_s = 10.0
link_mbps = 1000.0
latency_ms = 0.3
memory_mb = 4096
"#;

fn rows_of(stage: &Value, device: &str) -> u64 {
    let shares = stage["shares"].as_array().unwrap();
    let share = shares.iter().find(|share| share["device"] == device);
    share.map_or(0, |share| share["to"].as_u64().unwrap() - share["from"].as_u64().unwrap())
}

#[test]
fn a_plan_needs_no_cluster() {
    let place = Place::new();
    let lan = place.file("lan.toml", LAN);
    let done = place.succeeds(&["plan", "vgg16", "--lan", &lan, "--spread", "--json"]);
    assert_eq!(done.events(), ["plan"]);
    let plan = done.event("plan");
    assert!(plan["predicted_ms"].as_f64().unwrap() > 0.0);
    assert!(plan["alone_ms"].as_f64().unwrap() > 0.0);
    let stage = &plan["stages"][0];
    assert_eq!(stage["split"], "rows");
    let (fast, slow) = (rows_of(stage, "b"), rows_of(stage, "slow"));
    assert!(0 < slow && slow * 3 <= fast, "{stage}");

    let explained = place.succeeds(&["plan", "vgg16", "--lan", &lan, "--explain", "--json"]);
    let explanation = explained.event("plan")["explanation"].as_array().unwrap();
    let words = explanation.iter().map(|line| line.as_str().unwrap()).collect::<String>();
    assert!(words.contains("slow"), "{words}");
    assert!(words.contains("with one more device like b ("), "{words}");
    assert!(words.contains("with links twice as fast: "), "{words}");

    place.fails(
        1,
        &["plan", "vgg16", "--lan", &lan, "--memory", "1M", "--leader-idle"],
        &["memory"],
    );
    let shown = place.succeeds(&["plan", "vgg16", "--lan", &lan]);
    assert!(shown.stdout.contains("predicted"), "{}", shown.stdout);
}

#[test]
fn a_plan_of_the_paper_leaves_the_leader_idle() {
    let place = Place::new();
    let lan = place.file("lan.toml", LAN);
    let policy = ["--partition", "ocbp", "--exchange", "leader", "--leader-idle"];
    let policy = [&policy[..], &["--kernels", "exact", "--json"]].concat();
    let done = place.succeeds(&[&["plan", "vgg16", "--lan", &lan], &policy[..]].concat());
    let plan = done.event("plan");
    assert_eq!([&plan["partition"], &plan["exchange"]], ["ocbp", "leader"]);
    assert_eq!(plan["exact"], true);
    for stage in plan["stages"].as_array().unwrap() {
        assert!(stage["split"] == "whole" || rows_of(stage, "a") == 0, "{stage}");
    }
}

#[test]
fn a_comparison_shows_what_halves_cost() {
    let place = Place::new();
    let halves = ["--weights", "f16", "--wire", "f16", "--alone", "--compare", "--json"];
    let done = place.succeeds(&[&["run", SMALL, "random:1"], &halves[..]].concat());
    assert_eq!(done.event("plan")["weights"], "f16");
    let summary = done.event("summary");
    let of = |field: &str| summary[field].as_f64().unwrap();
    let (difference, largest) = (of("max_abs_diff"), of("max_abs"));
    assert!(difference > 0.0 && difference <= 2e-3 * largest, "{difference} of {largest}");
}

#[test]
fn halves_are_planned_for() {
    let place = Place::new();
    let lan = place.file("lan.toml", LAN);
    let plan = |flags: &[&str]| {
        let policy = ["--leader-idle", "--exchange", "leader", "--partition", "bodp", "--json"];
        let arguments = [&["plan", "vgg16", "--lan", &lan], &policy[..], flags].concat();
        place.succeeds(&arguments).event("plan").clone()
    };
    let (floats, halves) = (plan(&[]), plan(&["--wire", "f16", "--weights", "f16"]));
    assert_eq!([&floats["wire"], &floats["weights"]], ["f32", "f32"]);
    assert_eq!([&halves["wire"], &halves["weights"]], ["f16", "f16"]);
    let bytes = |plan: &Value| {
        let stages = plan["stages"].as_array().unwrap();
        stages.iter().map(|stage| stage["bytes_in"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    // Pixels travel as they are.
    assert!(bytes(&floats)[1..].iter().zip(&bytes(&halves)[1..]).all(|(f, h)| *f == 2 * h));
    let predicted = |plan: &Value| plan["predicted_ms"].as_f64().unwrap();
    assert!(predicted(&halves) < predicted(&floats));
}

#[test]
fn for_throughput_every_device_computes_whole_frames() {
    let place = Place::new();
    let lan = place.file("lan.toml", LAN.replace("gflops = 10.0", "gflops = 100.0"));
    let goal = ["--objective", "throughput", "--json"];
    let done = place.succeeds(&[&["plan", "vgg16", "--lan", &lan], &goal[..]].concat());
    let latency = place.succeeds(&["plan", "vgg16", "--lan", &lan, "--json"]);
    let rate = |plan: &Value| plan["frames_per_second"].as_f64().unwrap();
    let parts = done.lines.iter().map(|plan| plan["part_of_frames"].as_f64().unwrap());
    assert!((parts.sum::<f64>() - 1.0).abs() < 1e-9, "{}", done.stdout);
    for plan in &done.lines {
        assert_eq!(plan["objective"], "throughput");
        assert!(rate(plan) > rate(latency.event("plan")));
    }
    let whole = place.succeeds(&[&["plan", "vgg16", "--lan", &lan], &goal[..2]].concat());
    assert_eq!(whole.stdout.matches("whole frames on").count(), done.lines.len());
    place.fails(
        2,
        &["plan", "vgg16", "--lan", &lan, "--objective", "fun"],
        &["latency, throughput"],
    );
}

#[test]
fn lans_that_make_no_sense_are_exit_3() {
    let place = Place::new();
    let refused = |text: &str, words: &[&str]| {
        let lan = place.file("lan.toml", text);
        place.fails(3, &["plan", SMALL, "--lan", &lan], &[words, &["lan.toml"]].concat());
    };
    refused("device = 3", &[]);
    refused("", &["device"]);
    refused(&LAN.replace("gflops = 10.0", "gflops = 0.0"), &["slow", "gflops"]);
    refused(&LAN.replace("gflops = 10.0", "gflops = nan"), &["slow", "gflops"]);
    refused(&LAN.replace("\"b\"", "\"a\""), &["two devices"]);
    refused(&LAN.replace("latency_ms", "latency"), &["latency"]);
    let missing = place.path("nowhere.toml").to_string_lossy().into_owned();
    place.fails(3, &["plan", SMALL, "--lan", &missing], &["nowhere.toml"]);
    assert!(!Path::new(&missing).exists());
}
