//! Serves models to programs and people: the Open Inference Protocol over HTTP and gRPC, pictures
//! for curl and cameras, numbers for Prometheus, a page for browsers.
//!
//! A [`Server`] stands before one cluster. Every model has a queue; a request's turn comes when the
//! cluster can begin it, and from there it is one [`Model::infer`](crate::Model::infer) like any
//! other. What arrives over HTTP or gRPC is turned into the same few types, and neither knows of the
//! other:
//!
//! ```text
//! http/ ─┐                       ┌─ queue
//!        ├─ site ── model ───────┼─ cluster (Model::infer)
//! grpc/ ─┘     │                 └─ task (classes, boxes)
//!              └─ feed, metrics ── page, Prometheus
//! ```
//!
//! A request that comes alone is split over all devices that help, to be answered soon. When requests
//! queue, devices compute whole frames beside each other, which answers more of them in a second
//! (`pressure`); the planner does both, here it is only told which. This room never chooses a plan and
//! never reaches past the library's face.
//!
//! ```no_run
//! use edgeld::serve::{Options, Server, Specification};
//! use edgeld_runtime::models;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = edgeld::Cluster::builder().key_file("cluster.key").discover().await?;
//! let model = models::open("yolo.onnx", &models::Options::default())?;
//! let model = Specification::new("yolo", model);
//! let server = Server::start(&cluster, vec![model], Options::default()).await?;
//! println!("http://{}/v2/models/yolo/detect", server.http());
//! # Ok(())
//! # }
//! ```

mod about;
mod datatype;
mod error;
mod feed;
mod grpc;
mod http;
mod metrics;
mod model;
mod observer;
mod pressure;
mod queue;
mod server;
mod site;

pub use model::Specification;
pub use server::{Options, Server, StartError};
