//! `hearth.inference.v1` for the replicas that this worker holds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use hearth_proto::REPLICA_METADATA;
use hearth_proto::engine::v1::engine_service_client::EngineServiceClient;
use hearth_proto::inference::v1::inference_service_server::InferenceService;
use hearth_proto::inference::v1::{
    GenerateRequest, ListModelsRequest, ListModelsResponse, Model, TokenizeRequest, TokenizeResponse,
};
use tokio::time::timeout_at;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use super::Closing;
use super::answer::{Answer, explain};
use super::deadline::{deadline, exceeded};
use crate::child;
use crate::fleet::FleetHandle;
use crate::fleet::route::{InFlight, Model as Known, Route};
use crate::metrics::Metrics;
use crate::status;

pub(super) struct InferenceApi {
    fleet: FleetHandle,
    metrics: Arc<Metrics>,
    closing: Closing,
    /// Every request that runs, on whatever replica.
    all: InFlight,
}

impl InferenceApi {
    pub(super) fn new(fleet: FleetHandle, metrics: Arc<Metrics>, closing: Closing, all: InFlight) -> Self {
        Self { fleet, metrics, closing, all }
    }

    /// The replica that takes a request: the one that its metadata names, else any of the model.
    fn route(&self, metadata: &MetadataMap, model: &str) -> Result<Route, Status> {
        if self.closing.refuse.is_cancelled() {
            let message = "this worker is going and takes no new requests";
            return Err(status::unavailable(message, Duration::from_secs(1)));
        }
        if model.is_empty() {
            return Err(status::invalid("model", "is empty; give the served name of a model"));
        }
        let routes = self.fleet.routes();
        if let Some(id) = metadata.get(REPLICA_METADATA) {
            let found = id.to_str().ok().and_then(|id| routes.by_id.get(id));
            let found = found.ok_or_else(|| {
                status::unknown_model(
                    model,
                    format!("this worker does not hold the replica {id:?} of {model:?}"),
                )
            })?;
            return pick(model, found);
        }
        let Some(found) = routes.by_name.get(model) else {
            let known: Vec<_> = routes.by_name.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(status::unknown_model(
                model,
                format!("no model is served as {model:?} here; served are: {known}"),
            ));
        };
        pick(model, found)
    }
}

fn pick(name: &str, model: &Known) -> Result<Route, Status> {
    let route = model.pick().cloned();
    route.ok_or_else(|| status::unavailable(format!("{name:?} {}", model.message), model.retry))
}

fn client(channel: Channel) -> EngineServiceClient<Channel> {
    EngineServiceClient::new(channel)
        .max_decoding_message_size(child::MESSAGE_LIMIT)
        .max_encoding_message_size(child::MESSAGE_LIMIT)
}

#[tonic::async_trait]
impl InferenceService for InferenceApi {
    type GenerateStream = Answer;

    async fn generate(&self, request: Request<GenerateRequest>) -> Result<Response<Answer>, Status> {
        let deadline = deadline(request.metadata(), Instant::now())?;
        let (metadata, _, mut request) = request.into_parts();
        let mut metrics = self.metrics.request(&request.model);
        let route = self.route(&metadata, &request.model).inspect_err(|s| metrics.end(s.code()))?;
        let running = [self.all.enter(), route.in_flight.enter()];
        request.model = route.instance.engine_id();
        let mut engine = client(route.channel);
        // The response begins at once, so that only this stream decides how it
        // ends: by the engine, the deadline, or this worker's going.
        let events = stream::once(async move { engine.generate(request).await })
            .map_ok(Response::into_inner)
            .try_flatten()
            .boxed();
        let cut = self.closing.cut.clone().cancelled_owned().boxed();
        Ok(Response::new(Answer::new(events, deadline, cut, metrics, running)))
    }

    async fn tokenize(
        &self,
        request: Request<TokenizeRequest>,
    ) -> Result<Response<TokenizeResponse>, Status> {
        let deadline = deadline(request.metadata(), Instant::now())?;
        let (metadata, _, mut request) = request.into_parts();
        let route = self.route(&metadata, &request.model)?;
        let _running = [self.all.enter(), route.in_flight.enter()];
        request.model = route.instance.engine_id();
        let mut engine = client(route.channel);
        let answer = engine.tokenize(request);
        let answer = match deadline {
            Some(at) => timeout_at(at.into(), answer).await.map_err(|_| exceeded())?,
            None => answer.await,
        };
        answer.map_err(|s| explain(s, false))
    }

    async fn list_models(
        &self,
        _: Request<ListModelsRequest>,
    ) -> Result<Response<ListModelsResponse>, Status> {
        let routes = self.fleet.routes();
        let models = routes
            .by_name
            .iter()
            .map(|(name, model)| Model {
                name: name.clone(),
                state: model.state.into(),
                context_tokens: model.context_tokens,
                // Known to whoever chose the file.
                quantization: String::new(),
                ready_replicas: u32::try_from(model.routes.len()).unwrap_or(u32::MAX),
                age: None,
            })
            .collect();
        Ok(Response::new(ListModelsResponse { models }))
    }
}
