//! What every end that speaks `hearth.inference.v1` must do: a worker, and a gateway before it.

use hearth_proto::inference::v1::{
    Finish, FinishReason, GenerateRequest, SamplingOptions, StopOptions, TokenizeRequest,
    generate_response::Event, inference_service_client::InferenceServiceClient, tokenize_request::Input,
};
use hearth_tls::{DialOptions, Identity, dial};
use tonic::{Code, transport::Channel};

use crate::harness::{Harness, Stream, echoing, prompt};

type Client = InferenceServiceClient<Channel>;

/// Runs the whole contract against a client of an end that serves `model`.
async fn holds(client: Client, model: &str) {
    one_terminal_item(client.clone(), model).await;
    the_limit_holds(client.clone(), model).await;
    errors_have_their_codes(client.clone(), model).await;
    tokenizes(client, model).await;
}

async fn generate(client: Client, request: GenerateRequest) -> (String, Finish) {
    let (text, end) = Stream::of(client, request).await.unwrap().rest().await;
    let Ok(Event::Finish(finish)) = end else { panic!("{end:?}") };
    (text, finish)
}

async fn one_terminal_item(client: Client, model: &str) {
    let (text, finish) = generate(client, prompt(model, "one two three")).await;
    assert!(!text.is_empty());
    assert_ne!(finish.reason(), FinishReason::Unspecified);
    let usage = finish.usage.unwrap();
    assert!(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
}

async fn the_limit_holds(client: Client, model: &str) {
    let mut request = prompt(model, "one two three");
    request.stop = Some(StopOptions { max_tokens: Some(1), ..StopOptions::default() });
    let (_, finish) = generate(client, request).await;
    assert_eq!(finish.reason(), FinishReason::Length);
    assert_eq!(finish.usage.unwrap().completion_tokens, 1);
}

async fn errors_have_their_codes(client: Client, model: &str) {
    let mut cold = prompt(model, "hi");
    cold.sampling = Some(SamplingOptions { temperature: Some(-1.0), ..SamplingOptions::default() });
    for (request, code) in [
        (prompt("no-such-model", "hi"), Code::NotFound),
        (prompt(model, ""), Code::InvalidArgument),
        (GenerateRequest { model: model.into(), ..GenerateRequest::default() }, Code::InvalidArgument),
        (cold, Code::InvalidArgument),
    ] {
        let status = match Stream::of(client.clone(), request).await {
            Ok(mut stream) => stream.error().await,
            Err(status) => status,
        };
        assert_eq!(status.code(), code, "{status}");
        assert!(!status.message().is_empty());
    }
}

async fn tokenizes(mut client: Client, model: &str) {
    let mut ids = async |text: &str| {
        let request = TokenizeRequest { model: model.into(), input: Some(Input::Prompt(text.into())) };
        client.tokenize(request).await.unwrap().into_inner().ids
    };
    let first = ids("Grüße, 世界").await;
    assert!(!first.is_empty());
    assert_eq!(first, ids("Grüße, 世界").await);
}

#[tokio::test]
async fn the_fake_worker_keeps_it() {
    let harness = Harness::start().await;
    let worker = harness.worker("box", &["chat"]).await.echo();
    let live = harness.ca.live(&Identity::Gateway);
    let options = DialOptions::default();
    let channel = dial(&*worker.address, Identity::worker("box").unwrap(), &live, &options);
    holds(InferenceServiceClient::new(channel), "chat").await;
}

#[tokio::test]
async fn the_gateway_keeps_it() {
    let (harness, _worker) = echoing().await;
    holds(harness.client(), "chat").await;
}
