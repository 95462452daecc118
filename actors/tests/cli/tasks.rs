//! `edgeld inspect`, and what `edgeld run --task` makes of answers.

use serde_json::Value;

use crate::place::{GOLDEN, Place, SMALL, coffee, has_fields, network};

#[test]
fn inspect_tells_what_a_model_holds() {
    let place = Place::new();
    let model = place.file("whole.onnx", network());
    let done = place.succeeds(&["inspect", &model, "--json"]);
    let event = done.event("inspect");
    has_fields(event, &["inputs", "outputs", "operators", "gflop", "memory_bytes"]);
    assert_eq!(event["inputs"][0]["shape"], serde_json::json!([1, 3, 224, 224]));
    assert_eq!(event["unsupported"], serde_json::json!([]));
    let operators = event["operators"].as_array().unwrap();
    let conv = operators.iter().find(|operator| operator["name"] == "Conv").unwrap();
    assert_eq!((&conv["split"], conv["count"].as_u64() > Some(40)), (&"rows".into(), true));
    let by_rows = event["gflop_by_split"]["rows"].as_f64().unwrap();
    assert!(by_rows > 0.9 * event["gflop"].as_f64().unwrap(), "{event}");
    assert!(place.succeeds(&["inspect", SMALL]).stdout.contains("by rows"));
}

#[test]
fn inspect_finds_everything_that_is_not_supported() {
    let place = Place::new();
    let mut bytes = network();
    let positions: Vec<usize> =
        (0..bytes.len() - 4).filter(|at| bytes[*at..].starts_with(b"\x22\x04Clip")).collect();
    assert!(positions.len() > 10);
    positions.iter().for_each(|at| bytes[at + 2..at + 6].copy_from_slice(b"Clap"));
    let model = place.file("odd.onnx", bytes);
    let done = place.fails(3, &["inspect", &model], &["odd.onnx"]);
    let event = done.event("inspect");
    assert_eq!(event["gflop"], Value::Null);
    let refused = event["unsupported"].as_array().unwrap();
    assert_eq!(refused.len(), positions.len());
    assert!(refused.iter().all(|node| node["operator"] == "Clap"), "{event}");
    has_fields(&refused[0], &["node", "reason"]);
    place.fails(3, &["run", &model, &coffee(), "--alone"], &["Clap", "edgeld inspect"]);
}

#[test]
fn a_detector_finds_objects_and_draws_them() {
    let place = Place::new();
    let model = format!("{GOLDEN}/detector.onnx");
    let drawn = place.path("boxes.png").to_string_lossy().into_owned();
    let arguments = ["run", &model, &coffee(), "--alone", "--json", "--draw", &drawn];
    let done = place.succeeds(&arguments);
    let found = done.event("frame")["detections"].as_array().unwrap();
    let labels: Vec<&str> = found.iter().map(|one| one["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["cup", "spoon"]);
    // The input is 64 x 32, the picture in its middle; the first box is around its centre.
    let picture = image::open(coffee()).unwrap().into_rgb8();
    let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
    let side = |index: usize| found[0]["box"][index].as_f64().unwrap();
    assert!((side(0) + side(2) - width).abs() < 0.02 * width, "{found:?}");
    assert!((side(3) - side(1) - height / 4.0).abs() < 0.02 * height, "{found:?}");
    let with_boxes = image::open(&drawn).unwrap().into_rgb8();
    assert_eq!(with_boxes.dimensions(), picture.dimensions());
    let corner = (side(0) as u32, side(3) as u32 - 1);
    assert_ne!(with_boxes.get_pixel(corner.0, corner.1), picture.get_pixel(corner.0, corner.1));
}

#[test]
fn tasks_that_do_not_fit_the_model_are_refused() {
    let place = Place::new();
    let run = ["run", SMALL, "random:1", "--alone"];
    let fails = |code, more: &[&str], words: &[&str]| {
        place.fails(code, &[&run[..], more].concat(), words);
    };
    fails(3, &["--task", "detect"], &["[[1, 10]]", "--head"]);
    fails(3, &["--head", "yolox"], &["yolox"]);
    fails(2, &["--head", "yolo"], &["yolov8"]);
    fails(2, &["--task", "draw"], &["classify, detect and raw"]);
    fails(2, &["--draw", "out.png"], &["--task detect"]);
    fails(2, &["--task", "raw", "--head", "ssd"], &["--head", "--task detect"]);
    let detect = ["run", &format!("{GOLDEN}/detector.onnx"), "random:1", "--alone"];
    place.fails(2, &[&detect[..], &["--draw", "out"]].concat(), &["png"]);
    place.fails(2, &[&detect[..], &["--draw", "out.png"]].concat(), &["not a picture"]);
    let done = place.succeeds(&[&run[..], &["--task", "classify", "--json"]].concat());
    let classes = done.event("frame")["classes"].as_array().unwrap();
    let sum: f64 = classes.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
    assert!(classes.len() == 5 && sum > 0.0 && sum <= 1.001, "{classes:?}");
}
