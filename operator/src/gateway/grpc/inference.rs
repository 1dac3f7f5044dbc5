//! `hearth.inference.v1`, on top of the [`Forwarder`].

use std::sync::Arc;

use futures::{StreamExt as _, stream::BoxStream};
use hearth_proto::inference::v1::{
    GenerateRequest, GenerateResponse, ListModelsRequest, ListModelsResponse, TokenizeRequest,
    TokenizeResponse, inference_service_server::InferenceService,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::gateway::{
    deadline::Deadline,
    forward::Forwarder,
    memory::{Held, Parcel},
    refusal::Refusal,
};

#[derive(Debug)]
pub(super) struct Inference {
    forwarder: Arc<Forwarder>,
}

impl Inference {
    pub(super) fn new(forwarder: Arc<Forwarder>) -> Self {
        Self { forwarder }
    }

    /// What was held for the request when it came.
    fn held<T>(&self, request: &Request<T>) -> Result<Held, Refusal> {
        let parcel = request.extensions().get::<Parcel>();
        parcel.and_then(Parcel::take).map_or_else(|| self.forwarder.memory.begin(), Ok)
    }

    fn deadline<T>(&self, request: &Request<T>) -> Result<Deadline, Status> {
        Ok(Deadline::of_metadata(request.metadata(), self.forwarder.deadlines, Instant::now())?)
    }
}

#[tonic::async_trait]
impl InferenceService for Inference {
    type GenerateStream = BoxStream<'static, Result<GenerateResponse, Status>>;

    async fn generate(
        &self,
        request: Request<GenerateRequest>,
    ) -> Result<Response<Self::GenerateStream>, Status> {
        let deadline = self.deadline(&request)?;
        let held = self.held(&request)?;
        let message = self.forwarder.prepare(request.get_ref(), held)?;
        drop(request);
        let generation = self.forwarder.generate(message, deadline)?;
        Ok(Response::new(generation.into_stream().boxed()))
    }

    async fn tokenize(
        &self,
        request: Request<TokenizeRequest>,
    ) -> Result<Response<TokenizeResponse>, Status> {
        let deadline = self.deadline(&request)?;
        let held = self.held(&request)?;
        self.forwarder.tokenize(request.into_inner(), held, deadline).await.map(Response::new)
    }

    async fn list_models(
        &self,
        _request: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        Ok(Response::new(ListModelsResponse { models: self.forwarder.models(jiff::Timestamp::now()) }))
    }
}
