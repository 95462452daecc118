//! The server's HTTP side: routes, who may use them, and how errors look.
//!
//! A file per subject: `infer` and `metadata` are the Open Inference Protocol, `pictures` is for
//! curl and cameras, `page` for browsers. Handlers translate; what they call is in
//! [`model`](super::model).

mod body;
mod events;
mod infer;
mod json;
mod metadata;
mod named;
mod page;
mod pictures;
mod problem;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::{Compress, Next, from_fn};
use actix_web::web::{Data, ServiceConfig, get, post, resource, to};
use actix_web::{App, HttpServer};

use super::error::RequestError;
use super::site::Site;

/// Threads that read requests and write answers; what takes long is done elsewhere.
const THREADS: usize = 2;

/// How long connections stay open between requests: longer than clients keep theirs.
const IDLE: Duration = Duration::from_secs(75);

/// How long accepted requests may take to be answered when the server ends.
const DRAIN: Duration = Duration::from_secs(30);

/// What may be asked without a token: for those that watch over the server, and for the page, which
/// asks its user for the token.
const OPEN: [&str; 6] =
    ["/v2/health/live", "/v2/health/ready", "/", "/page.css", "/page.js", "/openapi.json"];

/// Listens; requests are answered while the result is awaited.
pub(super) fn listen(site: &Arc<Site>, address: SocketAddr) -> io::Result<(SocketAddr, Server)> {
    let site = Data::from(Arc::clone(site));
    let app = move || {
        App::new()
            .app_data(site.clone())
            .wrap(from_fn(guard))
            .wrap(Compress::default())
            .configure(routes)
            .default_service(to(problem::no_such_path))
    };
    let server = HttpServer::new(app)
        .workers(THREADS)
        .keep_alive(IDLE)
        // Who closes its side is gone, and so is what it asked.
        .h1_allow_half_closed(false)
        .tcp_nodelay(true)
        .disable_signals()
        .shutdown_timeout(DRAIN.as_secs())
        .bind(address)?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((bound, server.run()))
}

fn routes(app: &mut ServiceConfig) {
    let mut route = |path: &str, route| {
        app.service(resource(path).route(route));
    };
    route("/v2/health/live", get().to(metadata::live));
    route("/v2/health/ready", get().to(metadata::ready));
    route("/v2", get().to(metadata::server));
    route("/v2/", get().to(metadata::server));
    route("/v2/repository/index", post().to(metadata::index));
    for model in ["/v2/models/{model}", "/v2/models/{model}/versions/{version}"] {
        route(model, get().to(metadata::model));
        route(&format!("{model}/ready"), get().to(metadata::model_ready));
        route(&format!("{model}/infer"), post().to(infer::infer));
        route(&format!("{model}/classify"), post().to(pictures::classify));
        route(&format!("{model}/detect"), post().to(pictures::detect));
    }
    route("/v1/vision/detection", post().to(pictures::deepstack));
    route("/metrics", get().to(metadata::metrics));
    route("/events", get().to(events::events));
    route("/openapi.json", get().to(page::openapi));
    route("/", get().to(page::page));
    route("/page.css", get().to(page::style));
    route("/page.js", get().to(page::script));
}

/// Lets requests with the token pass, where there is one, and counts those that are not answered.
async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let site = request.app_data::<Data<Site>>().cloned();
    if let Some(site) = &site
        && !OPEN.contains(&request.path())
    {
        let authorization = request.headers().get(AUTHORIZATION);
        let admitted = site.admit(authorization.and_then(|text| text.to_str().ok()));
        admitted.inspect_err(|error| site.refused(error))?;
    }
    let response = next.call(request).await?;
    let error = response.response().error().and_then(actix_web::Error::as_error::<RequestError>);
    if let (Some(site), Some(error)) = (site, error) {
        site.refused(error);
    }
    Ok(response)
}
