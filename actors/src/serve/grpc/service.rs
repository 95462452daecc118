//! The calls of the protocol.

use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use std::pin::Pin;
use tonic::{Request, Response, Status, Streaming};

use super::protocol::grpc_inference_service_server::GrpcInferenceService;
use super::protocol::model_metadata_response::TensorMetadata;
use super::protocol::repository_index_response::ModelIndex;
use super::protocol::{
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ModelStreamInferResponse, RepositoryIndexRequest,
    RepositoryIndexResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};
use super::translate;
use crate::serve::about::{EXTENSIONS, PLATFORM, VERSION};
use crate::serve::datatype::FLOAT32;
use crate::serve::error::{Kind, RequestError};
use crate::serve::site::Site;
use edgeld_runtime::graph::Port;

/// Answers calls.
#[derive(Clone)]
pub(super) struct Inference {
    site: Arc<Site>,
}

impl Inference {
    pub(super) fn new(site: Arc<Site>) -> Inference {
        Inference { site }
    }

    async fn infer(&self, request: ModelInferRequest) -> Result<ModelInferResponse, RequestError> {
        let answer = async {
            let served = self.site.model(&request.model_name, Some(&request.model_version))?;
            let id = request.id.clone();
            let translate::Asked { tensors, wanted, patience } = translate::asked(request)?;
            let given = served.infer(tensors, &wanted, patience).await?;
            Ok(translate::response(&served.name, id, given))
        };
        answer.await.inspect_err(|error| self.site.refused(error))
    }
}

impl From<RequestError> for Status {
    fn from(error: RequestError) -> Status {
        let text = error.to_string();
        match error.kind() {
            Kind::NotFound => Status::not_found(text),
            Kind::Invalid | Kind::TooLarge | Kind::SlowBody => Status::invalid_argument(text),
            Kind::Unauthenticated => Status::unauthenticated(text),
            Kind::Exhausted => Status::resource_exhausted(text),
            Kind::Late => Status::deadline_exceeded(text),
            Kind::Unavailable => Status::unavailable(text),
            Kind::Internal => Status::internal(text),
        }
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.site.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let ModelReadyRequest { name, version } = request.into_inner();
        self.site.model(&name, Some(&version))?;
        Ok(Response::new(ModelReadyResponse { ready: self.site.is_ready() }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: "edgeld".to_owned(),
            version: crate::api::VERSION.to_owned(),
            extensions: EXTENSIONS.iter().map(|&name| name.to_owned()).collect(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        fn tensors(ports: &[Port]) -> Vec<TensorMetadata> {
            let about = |port: &Port| TensorMetadata {
                name: port.name.clone(),
                datatype: FLOAT32.to_owned(),
                shape: port.dims.iter().map(|dim| *dim as i64).collect(),
            };
            ports.iter().map(about).collect()
        }
        let ModelMetadataRequest { name, version } = request.into_inner();
        let served = self.site.model(&name, Some(&version))?;
        Ok(Response::new(ModelMetadataResponse {
            name,
            versions: vec![VERSION.to_owned()],
            platform: PLATFORM.to_owned(),
            inputs: tensors(served.inputs()),
            outputs: tensors(served.outputs()),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(self.infer(request).await?))
    }

    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    /// Answers each request of a stream in its turn; one that fails does not end the stream.
    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let requests = request.into_inner();
        let answers = stream::unfold((self.clone(), requests), |(inference, mut requests)| async {
            let answer = match requests.next().await? {
                Ok(request) => match inference.infer(request).await {
                    Ok(answer) => Ok(ModelStreamInferResponse {
                        error_message: String::new(),
                        infer_response: Some(answer),
                    }),
                    Err(error) => Ok(ModelStreamInferResponse {
                        error_message: error.to_string(),
                        infer_response: None,
                    }),
                },
                Err(status) => Err(status),
            };
            Some((answer, (inference, requests)))
        });
        Ok(Response::new(Box::pin(answers.take_until(Box::pin(self.site.stopped())))))
    }

    async fn repository_index(
        &self,
        _: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let models = self.site.models.iter().map(|served| ModelIndex {
            name: served.name.clone(),
            version: VERSION.to_owned(),
            state: "READY".to_owned(),
            reason: String::new(),
        });
        Ok(Response::new(RepositoryIndexResponse { models: models.collect() }))
    }
}
