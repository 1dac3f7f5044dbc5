//! Brings requests to workers and their answers back, for every protocol that clients speak.

mod attempts;
pub mod delivery;
mod generation;
pub mod message;
mod notices;

use std::{sync::Arc, time::Duration};

use hearth_proto::{
    FORWARDED_MESSAGE, REPLICA_METADATA,
    inference::v1::{
        GenerateRequest, GenerateResponse, Model, ModelState, TokenizeRequest, TokenizeResponse,
        generate_request, inference_service_client::InferenceServiceClient, tokenize_request,
    },
};
use http::uri::PathAndQuery;
use jiff::Timestamp;
use prost::Message as _;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Request, Response, Status, Streaming, client::Grpc, transport::Channel};

use self::{
    attempts::{Attempts, Failure},
    delivery::Delivery,
    generation::Generation,
    message::{Message, MessageCodec},
};
use super::{
    balance::Demand,
    deadline::{Deadline, DeadlineLimits},
    dispatch::{Dispatch, Permit},
    ledger::Ledger,
    lifecycle::Lifecycle,
    memory::{Held, Memory},
    metrics::Metrics,
    pool::Pool,
    refusal::Refusal,
    routes::{Replica, Route, facts::Standing},
    validate,
};

/// The method that generates.
const GENERATE: &str = "/hearth.inference.v1.InferenceService/Generate";
/// Tokens that a request without `max_tokens` is taken to generate when replicas are compared.
const USUAL_COMPLETION: u64 = 256;
/// Bytes of text that make about one token, when replicas are compared.
const BYTES_A_TOKEN: u64 = 4;

/// Everything that a request needs on its way.
#[derive(Debug)]
pub struct Forwarder {
    /// Hands out replicas.
    pub dispatch: Arc<Dispatch>,
    /// Channels to the workers.
    pub pool: Arc<Pool>,
    /// What is going on.
    pub ledger: Arc<Ledger>,
    /// What happened.
    pub metrics: Arc<Metrics>,
    /// Whether requests are taken.
    pub lifecycle: Arc<Lifecycle>,
    /// What requests may hold.
    pub memory: Memory,
    /// How long calls may take.
    pub deadlines: DeadlineLimits,
    /// How long a client that takes nothing of its answer keeps its replica.
    pub max_unread: Duration,
}

impl Forwarder {
    /// Checks a request, for [`Forwarder::generate`] once or several times.
    ///
    /// # Errors
    /// When the request is wrong, or takes more memory than there is.
    pub fn prepare(&self, request: &GenerateRequest, held: Held) -> Result<Message, Refusal> {
        Message::new(request, held).map_err(|refusal| self.refused(&request.model, "Generate", refusal))
    }

    /// Begins a generation, which goes on until it ends or what is returned is dropped. Must be
    /// called on a Tokio runtime.
    ///
    /// # Errors
    /// When the model is unknown or cannot be served, or too many wait.
    pub fn generate(self: &Arc<Self>, message: Message, deadline: Deadline) -> Result<Delivery, Refusal> {
        let name = message.model().clone();
        let begin = || {
            let route = self.dispatch.route(&name)?;
            let ticket = self.dispatch.enter(&name, message.demand())?;
            Ok((route, ticket))
        };
        match begin() {
            Ok((route, ticket)) => {
                let counted = self.ledger.begin(&route.key, &name);
                let generation = Generation::new(self.clone(), message, deadline, ticket, counted);
                Ok(Delivery::start(generation, self.max_unread))
            }
            Err(refusal) => Err(self.refused(&name, "Generate", refusal)),
        }
    }

    /// The token ids of a text.
    ///
    /// # Errors
    /// As [`Forwarder::generate`], and what the worker says.
    pub async fn tokenize(
        &self,
        request: TokenizeRequest,
        held: Held,
        deadline: Deadline,
    ) -> Result<TokenizeResponse, Status> {
        let name = request.model.clone();
        let known = self.dispatch.routes().get(&name).is_some();
        let result = tokio::select! {
            biased;
            () = self.lifecycle.is_cut() => Err(Refusal::Stopping.into()),
            result = self.try_tokenize(request, held, deadline) => result,
        };
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.ended(if known { &name } else { "" }, "Tokenize", code);
        result
    }

    async fn try_tokenize(
        &self,
        request: TokenizeRequest,
        mut held: Held,
        deadline: Deadline,
    ) -> Result<TokenizeResponse, Status> {
        validate::tokenize(&request)?;
        // The request stays until the answer; what goes to a worker is a copy.
        held.grow(request.encoded_len())?;
        let bytes = match &request.input {
            Some(tokenize_request::Input::Prompt(prompt)) => prompt.len(),
            Some(tokenize_request::Input::Chat(chat)) => chat.messages.iter().map(|m| m.content.len()).sum(),
            None => 0,
        };
        let demand = Demand { sequence: false, tokens: bytes as u64 / BYTES_A_TOKEN };
        let mut attempts = Attempts::default();
        let mut ticket = self.dispatch.enter(&request.model, demand)?;
        loop {
            let spot = ticket.spot();
            let permit = timeout_at(deadline.wait, ticket.granted())
                .await
                .map_err(|_| deadline.passed(&waiting_for(&request.model, &spot.progress().message)))??;
            let call = async {
                let upstream = upstream(request.clone(), permit.replica(), &deadline)?;
                let client = InferenceServiceClient::new(self.channel(&permit)?);
                client.max_decoding_message_size(FORWARDED_MESSAGE).tokenize(upstream).await
            };
            match timeout_at(deadline.end, call).await {
                Ok(Ok(response)) => {
                    permit.answered();
                    return Ok(response.into_inner());
                }
                Ok(Err(status)) => {
                    let failure = Failure { status, taken: false };
                    ticket = attempts.again(self, &request.model, permit, failure, &deadline)?;
                }
                Err(_) => return Err(deadline.passed("the worker was tokenizing").into()),
            }
        }
    }

    /// The models that can be named, ordered by name.
    pub fn models(&self, now: Timestamp) -> Vec<Model> {
        self.dispatch.routes().iter().map(|(name, route)| describe(name, route, now)).collect()
    }

    /// Sends a request to the replica that it got.
    async fn call(
        &self,
        permit: &Permit,
        message: Message,
        deadline: &Deadline,
    ) -> Result<Streaming<GenerateResponse>, Status> {
        let upstream = upstream(message, permit.replica(), deadline)?;
        let mut client = Grpc::new(self.channel(permit)?).max_decoding_message_size(FORWARDED_MESSAGE);
        client.ready().await.map_err(|error| Status::unknown(format!("the channel failed: {error}")))?;
        let response = client.server_streaming(upstream, PathAndQuery::from_static(GENERATE), MessageCodec);
        response.await.map(Response::into_inner)
    }

    fn channel(&self, permit: &Permit) -> Result<Channel, Status> {
        self.pool.channel(permit.replica()).map_err(|error| Status::unavailable(error.to_string()))
    }

    fn refused(&self, name: &str, method: &'static str, refusal: Refusal) -> Refusal {
        let known = self.dispatch.routes().get(name).is_some();
        let code = Status::from(refusal.clone()).code();
        self.metrics.ended(if known { name } else { "" }, method, code);
        refusal
    }
}

/// A call for exactly this replica, with what time is left.
fn upstream<T>(message: T, replica: &Replica, deadline: &Deadline) -> Result<Request<T>, Status> {
    let id = replica.id.parse().map_err(|_| {
        Status::internal(format!("the id {:?} of a replica is no value for a header", replica.id))
    })?;
    let mut request = Request::new(message);
    request.metadata_mut().insert(REPLICA_METADATA, id);
    request.set_timeout(deadline.left(Instant::now()));
    Ok(request)
}

fn waiting_for(model: &str, progress: &str) -> String {
    format!("the request was waiting for model {model:?}: {progress}")
}

fn demand(request: &GenerateRequest) -> Demand {
    let prompt = match &request.input {
        Some(generate_request::Input::Prompt(prompt)) => prompt.len() as u64 / BYTES_A_TOKEN,
        Some(generate_request::Input::Chat(chat)) => {
            chat.messages.iter().map(|message| message.content.len() as u64 / BYTES_A_TOKEN + 4).sum()
        }
        Some(generate_request::Input::Tokens(tokens)) => tokens.ids.len() as u64,
        None => 0,
    };
    let completion =
        request.stop.as_ref().and_then(|stop| stop.max_tokens).map_or(USUAL_COMPLETION, u64::from);
    Demand { sequence: true, tokens: prompt.saturating_add(completion) }
}

/// A model as clients see it.
fn describe(name: &str, route: &Route, now: Timestamp) -> Model {
    let state = match &route.standing {
        _ if route.is_ready() => ModelState::Ready,
        Standing::Pending(_) => ModelState::Pending,
        Standing::Loading(_) => ModelState::Loading,
        Standing::Failed(_) => ModelState::Failed,
    };
    let age = Duration::try_from(now.duration_since(route.created)).unwrap_or_default();
    Model {
        name: name.to_owned(),
        state: state.into(),
        context_tokens: route.context_tokens,
        quantization: route.quantization.clone(),
        ready_replicas: u32::try_from(route.replicas.len()).unwrap_or(u32::MAX),
        age: prost_types::Duration::try_from(age).ok(),
    }
}
