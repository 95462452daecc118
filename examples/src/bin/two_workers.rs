//! Two workers and a leader, all in this process, over TCP: the answer has the same bits as that
//! of the leader alone.

use std::error::Error;

use edgeld::{Cluster, Input, LoadOptions, Source, Worker, WorkerOptions};
use edgeld_examples::{on_loopback, own_cluster, shares};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::solve::Policy;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let homes = tempfile::tempdir()?;
    let (events, _) = tokio::sync::mpsc::unbounded_channel();
    let mut workers = Vec::new();
    for name in ["attic", "cellar"] {
        let options = on_loopback(name, &own_cluster(), homes.path());
        let options = WorkerOptions { mdns: false, ..options };
        workers.push(Worker::start(options, events.clone()).await?);
    }

    let mut leader = Cluster::builder()
        .name(own_cluster())
        .device_name("you")
        .home(homes.path().join("you"))
        .threads(1)
        .kernels(KernelKind::Exact)
        .mdns(false)
        .devices(1 + workers.len());
    for worker in &workers {
        leader = leader.peer(worker.address());
    }
    let cluster = leader.discover().await?;

    let source = Source::from(models::open("vgg11?size=96&classes=10", &Options::default())?);
    let pixels: Vec<u8> = (0..3 * 96 * 96).map(|index: u32| (index % 251) as u8).collect();
    let input = [Input::from(pixels)];
    let alone = LoadOptions { alone: true, ..LoadOptions::default() };
    let whole = cluster.load_with(source.clone(), alone).await?.infer(&input).await?;

    // `spread` gives everyone a share, even where one device would be faster.
    let policy = Policy { spread: true, ..Policy::default() };
    let options = LoadOptions { policy, ..LoadOptions::default() };
    let model = cluster.load_with(source, options).await?;
    let answer = model.infer(&input).await?;
    println!("rows: {}", shares(&model.plan(), &cluster.devices()));
    println!("{} alone, {} together, {} moved", whole.total, answer.total, answer.bytes_moved);

    let bits = |logits: &[f32]| logits.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&whole.outputs[0].data), bits(&answer.outputs[0].data));
    drop(model);
    cluster.shutdown().await;
    for worker in workers {
        worker.stop().await;
    }
    Ok(())
}
