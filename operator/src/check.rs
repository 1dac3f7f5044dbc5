//! `hearth-operator check`: whether a gateway does what it is there for.

use std::time::Duration;

use hearth_proto::inference::v1::generate_request::Input;
use hearth_proto::inference::v1::generate_response::Event;
use hearth_proto::inference::v1::inference_service_client::InferenceServiceClient;
use hearth_proto::inference::v1::{GenerateRequest, ListModelsRequest, Model, SamplingOptions, StopOptions};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Flags of `hearth-operator check`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The gateway's gRPC address.
    #[arg(long, default_value = "http://hearth-gateway:9000")]
    pub gateway: String,
    /// The model to ask. Default: the first that is ready.
    #[arg(long)]
    pub model: Option<String>,
    /// Seconds that the whole check may take.
    #[arg(long, default_value_t = 60)]
    pub timeout_seconds: u64,
}

/// The gateway does not do what it is there for.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The address is none.
    #[error("{0:?} is no address; use http://host:port")]
    Address(String),
    /// There is no gateway.
    #[error("connecting to {0}")]
    Connect(String, #[source] tonic::transport::Error),
    /// It does not answer as it should.
    #[error("{0}: {code:?}: {message}", code = .1.code(), message = .1.message())]
    Call(&'static str, Status),
    /// It says that it does not serve.
    #[error("the gateway's health is {0}")]
    Health(String),
    /// A generation ended without its last word.
    #[error("the generation of {0:?} ended without a finish event")]
    NoFinish(String),
    /// Nothing came for too long.
    #[error("no answer within {0} s")]
    Timeout(u64),
}

/// Checks the gateway's health, lists its models and generates one token with
/// the first that is ready. Succeeds, and says so, where none is ready.
///
/// # Errors
/// The first thing that is not as it should be.
pub async fn run(args: Args) -> Result<(), CheckError> {
    let seconds = args.timeout_seconds;
    tokio::time::timeout(Duration::from_secs(seconds), check(&args))
        .await
        .unwrap_or(Err(CheckError::Timeout(seconds)))
}

async fn check(args: &Args) -> Result<(), CheckError> {
    let endpoint =
        Endpoint::from_shared(args.gateway.clone()).map_err(|_| CheckError::Address(args.gateway.clone()))?;
    let channel =
        endpoint.connect().await.map_err(|error| CheckError::Connect(args.gateway.clone(), error))?;

    let mut health = HealthClient::new(channel.clone());
    let answer = health.check(HealthCheckRequest { service: String::new() }).await;
    let answer = answer.map_err(|status| CheckError::Call("asking for its health", status))?.into_inner();
    match answer.status() {
        ServingStatus::Serving => println!("health: serving"),
        other => return Err(CheckError::Health(other.as_str_name().to_owned())),
    }

    let mut client = InferenceServiceClient::new(channel);
    let models = client.list_models(ListModelsRequest {}).await;
    let models = models.map_err(|status| CheckError::Call("listing models", status))?.into_inner().models;
    println!("models: {}", models.len());
    for Model { name, ready_replicas, .. } in &models {
        println!("  {name}: {ready_replicas} ready");
    }
    let ready = models.iter().find(|model| model.ready_replicas > 0).map(|model| model.name.clone());
    let Some(model) = args.model.clone().or(ready) else {
        println!("no model is ready, so nothing was generated; apply a ServedModel and check again");
        return Ok(());
    };
    let text = generate(&mut client, &model).await?;
    println!("{model} answers: {text:?}");
    Ok(())
}

async fn generate(client: &mut InferenceServiceClient<Channel>, model: &str) -> Result<String, CheckError> {
    let request = GenerateRequest {
        model: model.to_owned(),
        input: Some(Input::Prompt("Hello".to_owned())),
        sampling: Some(SamplingOptions { temperature: Some(0.0), ..SamplingOptions::default() }),
        stop: Some(StopOptions { max_tokens: Some(1), ..StopOptions::default() }),
        constraint: None,
        shortcuts: None,
    };
    let call = |status| CheckError::Call("generating a token", status);
    let mut stream = client.generate(Request::new(request)).await.map_err(call)?.into_inner();
    let mut text = String::new();
    while let Some(response) = stream.message().await.map_err(call)? {
        match response.event {
            Some(Event::Delta(delta)) => text.push_str(&delta.text),
            Some(Event::Finish(_)) => return Ok(text),
            Some(Event::Waiting(waiting)) => println!("waiting: {}", waiting.message),
            None => {}
        }
    }
    Err(CheckError::NoFinish(model.to_owned()))
}
