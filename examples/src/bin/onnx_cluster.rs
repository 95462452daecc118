//! An ONNX file and a photograph on devices that find each other over mDNS.
//!
//!     onnx_cluster [MODEL.onnx PICTURE LABELS]
//!
//! The workers run in this process to make a complete example; on other machines they are
//! `edgeld worker --key cluster.key`, and the leader says `.key_file("cluster.key")` too.

use std::error::Error;
use std::path::Path;

use edgeld::input::{Framing, Origin, read_labels};
use edgeld::{Cluster, LoadOptions, Worker};
use edgeld_examples::{on_loopback, own_cluster, shares};
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::solve::Policy;

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/assets");

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |asset: &str| arguments.next().unwrap_or(format!("{ASSETS}/{asset}"));
    let file = argument("efficientnet_lite0.onnx");
    let picture: Origin = argument("coffee.jpg").parse()?;
    let labels = read_labels(Path::new(&argument("imagenet_labels.txt")))?;

    let homes = tempfile::tempdir()?;
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = Vec::new();
    for name in ["attic", "kitchen", "cellar"] {
        let options = on_loopback(name, &own_cluster(), homes.path());
        workers.push(Worker::start(options, events.clone()).await?);
    }
    let cluster = Cluster::builder()
        .name(own_cluster())
        .device_name("you")
        .home(homes.path().join("you"))
        .threads(1)
        .devices(1 + workers.len())
        .discover()
        .await?;
    for device in cluster.devices() {
        let speed = device.gflops.map_or("?".to_owned(), |gflops| format!("{gflops:.0}"));
        println!("{} at {}: {speed} GFLOP/s", device.name, device.address);
    }

    let model = models::open(&file, &Options::default())?;
    let port = &model.graph.inputs()[0];
    let shape = model.graph.shape(port.tensor);
    let (input, _) = picture.read(port, shape, Framing::default())?;
    let policy = Policy { spread: true, ..Policy::default() };
    let options = LoadOptions { policy, ..LoadOptions::default() };
    let model = cluster.load_with(model, options).await?;
    let answer = model.infer(&[input]).await?;

    println!("rows: {}", shares(&model.plan(), &cluster.devices()));
    let scores = answer.outputs[0].data.iter().enumerate();
    let best = scores.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
    let label = labels.get(best).map_or("?", String::as_str);
    println!("{picture}: {label}, in {}, {} moved", answer.total, answer.bytes_moved);
    drop(model);
    cluster.shutdown().await;
    for worker in workers {
        worker.stop().await;
    }
    Ok(())
}
