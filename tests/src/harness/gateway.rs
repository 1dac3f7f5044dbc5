//! The gateway as its clients see it.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use hearth_proto::inference::v1::{
    Finish, GenerateRequest, GenerateResponse, SamplingOptions, StopOptions, generate_request::Input,
    generate_response::Event, inference_service_client::InferenceServiceClient,
};
use tonic::{Request, Status, Streaming, transport::Channel};

use super::Cluster;

/// The method that generates.
pub(crate) const GENERATE: &str = "/hearth.inference.v1.InferenceService/Generate";

/// A gRPC channel to the gateway's Service, and its HTTP address.
pub(crate) struct Gateway {
    pub(crate) channel: Channel,
    pub(crate) http: String,
    /// Where gRPC is served, for calls without a client library.
    pub(crate) grpc: String,
}

/// A generation that ran to its end.
pub(crate) struct Generation {
    pub(crate) text: String,
    pub(crate) tokens: usize,
    /// Messages that carried text.
    pub(crate) deltas: usize,
    /// Messages that said why it waits.
    pub(crate) waits: usize,
    pub(crate) finish: Finish,
}

/// A greedy request for a number of tokens.
pub(crate) fn prompt(model: &str, prompt: &str, tokens: u32) -> GenerateRequest {
    GenerateRequest {
        model: model.to_owned(),
        input: Some(Input::Prompt(prompt.to_owned())),
        sampling: Some(SamplingOptions { temperature: Some(0.0), ..SamplingOptions::default() }),
        stop: Some(StopOptions {
            max_tokens: Some(tokens),
            ignore_eos: Some(true),
            ..StopOptions::default()
        }),
        constraint: None,
        shortcuts: None,
    }
}

impl Gateway {
    pub(crate) async fn dial(cluster: &Cluster) -> Result<Self> {
        let ip = cluster.service_ip("hearth-gateway").await?;
        let channel = Channel::from_shared(format!("http://{ip}:9000"))?
            .connect_timeout(Duration::from_secs(5))
            .connect()
            .await
            .context("dialling the gateway's Service")?;
        Ok(Self { channel, http: format!("http://{ip}:8080"), grpc: format!("{ip}:9000") })
    }

    pub(crate) fn client(&self) -> InferenceServiceClient<Channel> {
        InferenceServiceClient::new(self.channel.clone())
    }

    /// Starts a generation with a deadline.
    pub(crate) async fn start(
        &self,
        request: GenerateRequest,
        deadline: Duration,
    ) -> Result<Streaming<GenerateResponse>, Status> {
        let mut request = Request::new(request);
        request.set_timeout(deadline);
        Ok(self.client().generate(request).await?.into_inner())
    }

    /// Runs a generation to its end and checks the shape of the stream.
    pub(crate) async fn generate(&self, request: GenerateRequest) -> Result<Generation> {
        let stream = self.start(request, Duration::from_secs(60)).await?;
        collect(stream).await
    }
}

/// Reads a stream to its end: exactly one finish, and nothing after it.
pub(crate) async fn collect(mut stream: Streaming<GenerateResponse>) -> Result<Generation> {
    let (mut text, mut tokens, mut deltas, mut waits, mut finish) = (String::new(), 0, 0, 0, None);
    while let Some(message) = stream.message().await? {
        if finish.is_some() {
            bail!("a message after the finish: {message:?}");
        }
        match message.event.context("a message without an event")? {
            Event::Waiting(_) if deltas > 0 => bail!("waiting after the first token"),
            Event::Waiting(_) => waits += 1,
            Event::Delta(delta) => {
                deltas += 1;
                tokens += delta.token_ids.len();
                text.push_str(&delta.text);
            }
            Event::Finish(it) => finish = Some(it),
        }
    }
    let finish = finish.context("the stream ended without a finish")?;
    Ok(Generation { text, tokens, deltas, waits, finish })
}
