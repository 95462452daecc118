//! The server's gRPC side: the Open Inference Protocol, and gRPC's own health service.

/// The protocol, as its definition in `proto/` has it.
#[allow(clippy::all, missing_docs, unreachable_pub, reason = "generated")]
mod protocol;
mod service;
mod translate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::sleep;
use tonic::codec::CompressionEncoding;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Status};

use super::site::Site;
use protocol::grpc_inference_service_server::GrpcInferenceServiceServer;
use service::Inference;

/// How long accepted requests may take to be answered when the server ends.
const DRAIN: Duration = Duration::from_secs(30);

/// How often a silent client is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Requests of one connection at once.
const STREAMS: u32 = 32;

/// Listens at once; requests are answered while the second of the results is awaited, until the server
/// ends.
pub(super) async fn listen(
    address: SocketAddr,
) -> io::Result<(SocketAddr, impl FnOnce(&Arc<Site>) -> BoxFuture<'static, ()>)> {
    let incoming = TcpIncoming::bind(address)?.with_nodelay(Some(true));
    let bound = incoming.local_addr()?;
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<GrpcInferenceServiceServer<Inference>>().await;
    let serve = move |site: &Arc<Site>| {
        let limit = site.body_limit();
        let inference = GrpcInferenceServiceServer::new(Inference::new(Arc::clone(site)))
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Deflate)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX);
        let (begin, end) = (site.stopped(), site.stopped());
        let serving = Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .max_concurrent_streams(Some(STREAMS))
            .add_service(health)
            .add_service(InterceptedService::new(inference, Admission(Arc::clone(site))))
            .serve_with_incoming_shutdown(incoming, async move {
                begin.await;
                reporter.set_not_serving::<GrpcInferenceServiceServer<Inference>>().await;
            });
        async move {
            // Clients that keep their connection do not keep the server.
            tokio::select! {
                served = serving => if let Err(error) = served {
                    tracing::error!("grpc: {error}");
                },
                () = end.then(|()| sleep(DRAIN)) => {}
            }
        }
        .boxed()
    };
    Ok((bound, serve))
}

/// Lets requests with the token pass, before any of their messages is read.
#[derive(Clone)]
struct Admission(Arc<Site>);

impl Interceptor for Admission {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let authorization = request.metadata().get("authorization");
        let admitted = self.0.admit(authorization.and_then(|text| text.to_str().ok()));
        admitted.inspect_err(|error| self.0.refused(error))?;
        Ok(request)
    }
}
