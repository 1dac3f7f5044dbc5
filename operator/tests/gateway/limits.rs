//! Requests that are refused.

use hearth_proto::inference::v1::{SamplingOptions, StopOptions, TokenizeRequest, tokenize_request::Input};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Harness, Stream, args, echoing, prompt};

async fn refused(
    harness: &Harness,
    request: impl tonic::IntoRequest<hearth_proto::inference::v1::GenerateRequest>,
) -> Status {
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
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.message().contains("4194304"), "{status}");
    let (text, end) = Stream::of(client, prompt("chat", "hi")).await.unwrap().rest().await;
    assert_eq!(text, "hi");
    assert!(end.is_ok());
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
