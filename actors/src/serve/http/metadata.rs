//! What the server and its models are, and how they are.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};
use edgeld_runtime::graph::Port;
use serde::Serialize;

use super::named::Named;
use crate::serve::about::{EXTENSIONS, PLATFORM, VERSION};
use crate::serve::datatype::FLOAT32;
use crate::serve::error::RequestError;
use crate::serve::metrics::CONTENT_TYPE;
use crate::serve::site::Site;

#[derive(Serialize)]
struct About {
    name: &'static str,
    version: &'static str,
    extensions: &'static [&'static str],
}

#[derive(Serialize)]
struct ModelAbout<'a> {
    name: &'a str,
    versions: [&'static str; 1],
    platform: &'static str,
    inputs: Vec<TensorAbout<'a>>,
    outputs: Vec<TensorAbout<'a>>,
}

#[derive(Serialize)]
struct TensorAbout<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [u64],
}

#[derive(Serialize)]
struct Indexed<'a> {
    name: &'a str,
    version: &'static str,
    state: &'static str,
    reason: &'static str,
}

#[derive(Serialize)]
struct Health {
    live: bool,
    ready: bool,
}

/// Whether the server answers at all.
pub(super) async fn live(site: Data<Site>) -> HttpResponse {
    HttpResponse::Ok().json(Health { live: true, ready: site.is_ready() })
}

/// Whether it answers requests.
pub(super) async fn ready(site: Data<Site>) -> Result<HttpResponse, RequestError> {
    match site.is_ready() {
        true => Ok(HttpResponse::Ok().json(Health { live: true, ready: true })),
        false => Err(RequestError::Stopping),
    }
}

pub(super) async fn server() -> HttpResponse {
    let (name, version) = ("edgeld", crate::api::VERSION);
    HttpResponse::Ok().json(About { name, version, extensions: EXTENSIONS })
}

pub(super) async fn model(
    named: Path<Named>,
    site: Data<Site>,
) -> Result<HttpResponse, RequestError> {
    fn about(port: &Port) -> TensorAbout<'_> {
        TensorAbout { name: &port.name, datatype: FLOAT32, shape: &port.dims }
    }
    let served = site.model(&named.model, named.version.as_deref())?;
    Ok(HttpResponse::Ok().json(ModelAbout {
        name: &served.name,
        versions: [VERSION],
        platform: PLATFORM,
        inputs: served.inputs().iter().map(about).collect(),
        outputs: served.outputs().iter().map(about).collect(),
    }))
}

pub(super) async fn model_ready(
    named: Path<Named>,
    site: Data<Site>,
) -> Result<HttpResponse, RequestError> {
    site.model(&named.model, named.version.as_deref())?;
    ready(site).await
}

/// All models.
pub(super) async fn index(site: Data<Site>) -> HttpResponse {
    let indexed = site.models.iter().map(|served| Indexed {
        name: &served.name,
        version: VERSION,
        state: "READY",
        reason: "",
    });
    HttpResponse::Ok().json(indexed.collect::<Vec<_>>())
}

/// Numbers for Prometheus.
pub(super) async fn metrics(site: Data<Site>) -> HttpResponse {
    let queues = site.models.iter().map(|served| (&served.name[..], served.queue.lengths()));
    match site.metrics.text(queues) {
        Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}
