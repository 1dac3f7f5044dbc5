//! Requests that are refused.

use hearth_operator::gateway::Args;
use hearth_proto::inference::v1::{
    Chat, ChatMessage, GenerateRequest, SamplingOptions, StopOptions, TokenizeRequest, generate_request,
    tokenize_request::Input,
};
use http::Method;
use serde_json::json;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::harness::{Harness, Stream, args, echoing, json as json_of, prompt, soon, text};

async fn refused(harness: &Harness, request: impl tonic::IntoRequest<GenerateRequest>) -> Status {
    match Stream::of(harness.client(), request).await {
        Ok(mut stream) => stream.error().await,
        Err(status) => status,
    }
}

#[tokio::test]
async fn an_unknown_model_is_named_with_those_that_there_are() {
    let (harness, _worker) = echoing().await;
    let status = refused(&harness, prompt("gpt", "hi")).await;
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(status.message(), "no model is served as \"gpt\"; there are: chat");
    let info = status.get_details_resource_info().unwrap();
    assert_eq!((info.resource_type.as_str(), info.resource_name.as_str()), ("hearth.dev/ServedModel", "gpt"));
    let request = TokenizeRequest { model: "gpt".into(), input: Some(Input::Prompt("hi".into())) };
    assert_eq!(harness.client().tokenize(request).await.unwrap_err().code(), Code::NotFound);
    let metrics = harness.metrics().await;
    assert!(!metrics.contains("gpt"), "clients do not make labels: {metrics}");
    assert!(
        metrics
            .contains("hearth_gateway_requests_total{model=\"\",method=\"Generate\",code=\"NOT_FOUND\"} 1")
    );
}

#[tokio::test]
async fn each_wrong_field_is_a_violation() {
    let (harness, _worker) = echoing().await;
    let mut request = prompt("chat", "hi");
    request.sampling =
        Some(SamplingOptions { temperature: Some(-1.0), top_p: Some(0.0), ..Default::default() });
    request.stop = Some(StopOptions { max_tokens: Some(0), ..Default::default() });
    let status = refused(&harness, request).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    let fields: Vec<_> = status
        .get_details_bad_request()
        .unwrap()
        .field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect();
    assert_eq!(fields, ["sampling.temperature", "sampling.top_p", "stop.max_tokens"]);
    assert!(status.message().starts_with("sampling.temperature: -1 is not from 0 (greedy) to 2"), "{status}");
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_lives() {
    let (harness, _worker) = echoing().await;
    let client = harness.client();
    let status = match Stream::of(client.clone(), prompt("chat", &"x".repeat(10_000_000))).await {
        Ok(mut stream) => stream.error().await,
        Err(status) => status,
    };
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("4194304"), "{status}");
    let (text, end) = Stream::of(client, prompt("chat", "hi")).await.unwrap().rest().await;
    assert_eq!(text, "hi");
    assert!(end.is_ok());
}

#[tokio::test]
async fn methods_that_take_no_prompt_take_no_long_message() {
    let (harness, _worker) = echoing().await;
    let mut health = HealthClient::new(harness.channel());
    let mut check = async |length| {
        let request = HealthCheckRequest { service: "x".repeat(length) };
        health.check(request).await.map(drop).unwrap_err()
    };
    assert_eq!(check(1_000).await.code(), Code::NotFound);
    let status = check(20_000).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert!(status.message().contains("16384"), "{status}");
}

#[tokio::test]
async fn a_deadline_that_has_passed_and_one_that_is_none() {
    let (harness, _worker) = echoing().await;
    let mut client = harness.patient_client().await;
    for (timeout, code) in [("0m", Code::DeadlineExceeded), ("soon", Code::InvalidArgument)] {
        let mut request = Request::new(prompt("chat", "hi"));
        request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
        assert_eq!(client.generate(request).await.unwrap_err().code(), code, "{timeout}");
    }
}

#[tokio::test]
async fn the_deadline_of_a_call_without_a_stream() {
    let harness = Harness::start().await;
    harness.loading("chat", "loading", 0, 0).await;
    let mut request =
        Request::new(TokenizeRequest { model: "chat".into(), input: Some(Input::Prompt("hi".into())) });
    request.metadata_mut().insert("grpc-timeout", "200m".parse().unwrap());
    let status = harness.patient_client().await.tokenize(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
}

#[tokio::test]
async fn the_queue_is_bounded() {
    let harness = Harness::start().await;
    harness.loading("chat", "loading", 0, 0).await;
    let mut held = vec![];
    for i in 1..=3 {
        held.push(harness.generate("chat").await);
        harness.until_counted(i, 0).await;
    }
    let status = refused(&harness, prompt("chat", "hi")).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "3 requests already wait for model \"chat\": try again later");
    assert!(status.get_details_retry_info().is_some());
    assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test]
async fn before_the_cluster_was_seen_nothing_is_unknown() {
    let harness = Harness::start_bare(args()).await;
    let status = refused(&harness, prompt("chat", "hi")).await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
}

/// What a client may send can be longer as workers get it: here, tools and the form of their calls.
#[tokio::test]
async fn a_request_that_grows_on_its_way_arrives() {
    let (harness, _worker) = echoing().await;
    let parameters = json!({"type": "object", "description": "x".repeat(3 << 20)});
    let tool = json!({"type": "function", "function": {"name": "add", "parameters": parameters}});
    let body = json!({
        "model": "chat",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [tool],
        "tool_choice": "required",
    });
    let response = harness.post("/v1/chat/completions", &body).await;
    assert_eq!(response.status(), 200, "{}", text(response).await);
}

#[tokio::test]
async fn what_requests_hold_is_bounded() {
    let harness = Harness::start_with(Args { max_held_bytes: 130_000, ..args() }).await;
    harness.loading("chat", "loading", 0, 0).await;
    // A body is held twice while it is read.
    let long = "x".repeat(60_000);
    let longer = "x".repeat(80_000);
    // Three choices hold their prompt once.
    let body = json!({"model": "chat", "prompt": long, "n": 3, "seed": 7}).to_string();
    let asked = harness.http(Method::POST, "/v1/completions", body.clone(), &[]);
    let mut asked = Box::pin(asked);
    tokio::select! {
        _ = &mut asked => panic!("the model is not there yet"),
        () = harness.until_counted(3, 0) => {}
    }
    let held = harness.forwarder.memory.used();
    assert!((60_000..61_000).contains(&held), "{held}");
    let status = refused(&harness, prompt("chat", &longer)).await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.get_details_retry_info().is_some());
    let response = harness.http(Method::POST, "/v1/completions", body, &[]).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    // It is the same as ever once the first has its answer.
    let _worker = harness.worker("box", &["chat"]).await.echo();
    harness.model("chat", &["box"]).await;
    assert_eq!(soon(asked).await.status(), 200);
    assert_eq!(harness.forwarder.memory.used(), 0);
    let (said, end) = Stream::of(harness.client(), prompt("chat", &longer)).await.unwrap().rest().await;
    assert_eq!(said.len(), longer.len());
    end.unwrap();
}

#[tokio::test]
async fn a_body_that_would_grow_beyond_all_bounds_is_refused() {
    let (harness, _worker) = echoing().await;
    let ones = format!("{{\"model\": \"chat\", \"prompt\": [{}1]}}", "1,".repeat(2_000_000));
    let response = harness.http(Method::POST, "/v1/completions", ones, &[]).await;
    assert_eq!(response.status(), 400);
    let error = json_of(response).await;
    assert!(error["error"]["message"].as_str().unwrap().contains("134217728 bytes"), "{error}");
    // The same by gRPC: two bytes a message that takes a hundred.
    let messages = vec![ChatMessage::default(); 1_000_000];
    let input = generate_request::Input::Chat(Chat { messages, ..Chat::default() });
    let request = GenerateRequest { input: Some(input), ..prompt("chat", "") };
    assert_eq!(refused(&harness, request).await.code(), Code::InvalidArgument);
    assert_eq!(harness.forwarder.memory.used(), 0);
}

#[tokio::test]
async fn a_name_that_no_model_can_have_is_not_told_again() {
    let (harness, _worker) = echoing().await;
    let name = "m".repeat(50_000);
    let status = refused(&harness, prompt(&name, "hi")).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "model");
    assert!(status.message().len() < 200, "{status}");
    let request = TokenizeRequest { model: name.clone(), input: Some(Input::Prompt("hi".into())) };
    assert_eq!(harness.client().tokenize(request).await.unwrap_err().code(), Code::InvalidArgument);
    let response = harness.get(&format!("/v1/models/{name}")).await;
    assert_eq!(response.status(), 400);
    assert!(text(response).await.len() < 300);
    // The longest that one can have is only unknown.
    assert_eq!(refused(&harness, prompt(&name[..128], "hi")).await.code(), Code::NotFound);
}
