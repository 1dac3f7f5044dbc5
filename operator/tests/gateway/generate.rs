//! Requests that are answered: routing, balancing, waiting.

use std::time::Duration;

use hearth_operator::gateway::routes::facts::Fault;
use hearth_proto::inference::v1::{
    Finish, FinishReason, ListModelsRequest, ModelState, TokenizeRequest, Usage, generate_response::Event,
    tokenize_request,
};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::harness::{Harness, Stream, echoing, prompt};

#[tokio::test]
async fn relays_an_answer_and_counts_it() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut stream = harness.generate("chat").await;
    let call = worker.call().await;
    assert_eq!(call.request, prompt("chat", "hi"));
    assert!(call.metadata.contains_key("grpc-timeout"), "the deadline goes along");
    let answer = call.accept();
    // A character outside the basic plane, next to one that combines.
    for piece in ["Gr", "üße ", "🦀", "e\u{301}"] {
        answer.delta(piece).await;
        assert_eq!(stream.text().await, piece, "each piece at once");
    }
    answer.finish(FinishReason::Stop, 5, 4).await;
    let (_, end) = stream.rest().await;
    let usage = Some(Usage { prompt_tokens: 5, completion_tokens: 4, cached_tokens: 4 });
    let reason = FinishReason::Stop.into();
    assert_eq!(end.unwrap(), Event::Finish(Finish { reason, usage, stop_sequence: None }));

    harness.until_counted(0, 0).await;
    let metrics = harness.metrics().await;
    for line in [
        "hearth_gateway_requests_total{model=\"chat\",method=\"Generate\",code=\"OK\"} 1",
        "hearth_gateway_tokens_total{model=\"chat\",kind=\"prompt\"} 5",
        "hearth_gateway_tokens_total{model=\"chat\",kind=\"completion\"} 4",
        "hearth_gateway_time_to_first_token_seconds_count{model=\"chat\"} 1",
        "hearth_gateway_outstanding{model=\"chat\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn requests_go_to_the_least_busy_replica() {
    let harness = Harness::start().await;
    let mut attic = harness.worker("attic", &["chat"]).await;
    let mut cellar = harness.worker("cellar", &["chat"]).await;
    harness.model("chat", &["attic", "cellar"]).await;
    let mut streams = vec![];
    for _ in 0..4 {
        streams.push(harness.generate("chat").await);
    }
    for worker in [&mut attic, &mut cellar] {
        for _ in 0..2 {
            worker.call().await.refuse(tonic::Status::internal("enough"));
        }
        assert!(worker.is_idle(), "two each");
    }
    for mut stream in streams {
        assert_eq!(stream.error().await.message(), "enough");
    }
}

#[tokio::test]
async fn a_request_for_a_loading_model_waits_and_says_so() {
    let harness = Harness::start().await;
    harness.loading("chat", "the model's file is being fetched on box, 10 %", 10, 100).await;
    let mut stream = harness.generate("chat").await;
    let Some(Event::Waiting(first)) = stream.next().await.unwrap() else { panic!() };
    assert_eq!(first.message, "the model's file is being fetched on box, 10 %");
    assert_eq!((first.done_bytes, first.total_bytes), (10, 100));
    assert_eq!(first.eta.unwrap().seconds, 30);
    harness.until_counted(1, 0).await;

    harness.loading("chat", "the model is being loaded on box, 50 %", 50, 100).await;
    let Some(Event::Waiting(second)) = stream.next().await.unwrap() else { panic!() };
    assert_eq!(second.done_bytes, 50);

    let _worker = harness.worker("box", &["chat"]).await.echo();
    harness.model("chat", &["box"]).await;
    let (text, end) = stream.rest().await;
    assert_eq!(text, "hi");
    assert!(matches!(end, Ok(Event::Finish(_))));
}

#[tokio::test]
async fn those_who_wait_are_served_in_the_order_they_came() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model_with("chat", &["box"], 1).await;
    let mut streams = vec![];
    for (i, text) in ["first", "second", "third"].into_iter().enumerate() {
        streams.push(Stream::of(harness.client(), prompt("chat", text)).await.unwrap());
        harness.until_counted(i as u32, 1).await;
    }
    for (i, text) in ["first", "second", "third"].into_iter().enumerate() {
        let call = worker.call().await;
        assert_eq!(call.request, prompt("chat", text));
        assert!(worker.is_idle(), "one sequence, one request");
        let answer = call.accept();
        answer.finish(FinishReason::Stop, 1, 1).await;
        assert!(streams[i].rest().await.1.is_ok());
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_served_fails_at_once() {
    let harness = Harness::start().await;
    harness.failed("chat", Fault::Rejected("spec.replicas: -1".into())).await;
    let status = Stream::of(harness.client(), prompt("chat", "hi")).await.err().unwrap();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.message(), "model \"chat\" cannot be served: spec.replicas: -1");

    harness.failed("chat", Fault::Unplaceable("needs 9 GiB, box has 3 GiB free".into())).await;
    let status = Stream::of(harness.client(), prompt("chat", "hi")).await.err().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().ends_with("needs 9 GiB, box has 3 GiB free"));
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(30)));
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "30000");
}

#[tokio::test]
async fn those_who_wait_for_a_model_that_fails_are_told() {
    let harness = Harness::start().await;
    harness.loading("chat", "loading", 0, 0).await;
    let mut stream = harness.generate("chat").await;
    harness.until_counted(1, 0).await;
    harness.failed("chat", Fault::Rejected("the file is damaged".into())).await;
    let status = stream.error().await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    harness.until_counted(0, 0).await;
}

#[tokio::test]
async fn the_deadline_ends_a_wait() {
    let harness = Harness::start().await;
    harness.loading("chat", "the model is being loaded on box", 0, 0).await;
    let mut request = Request::new(prompt("chat", "hi"));
    // By hand: a timeout that tonic sets also ends the call on the client's side.
    request.metadata_mut().insert("grpc-timeout", "300m".parse().unwrap());
    let status = Stream::of(harness.client(), request).await.unwrap().error().await;
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(
        status
            .message()
            .ends_with("the request was waiting for model \"chat\": the model is being loaded on box"),
        "{status}"
    );
    harness.until_counted(0, 0).await;
}

#[tokio::test]
async fn the_deadline_ends_an_answer() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut request = Request::new(prompt("chat", "hi"));
    request.metadata_mut().insert("grpc-timeout", "500m".parse().unwrap());
    let mut stream = Stream::of(harness.client(), request).await.unwrap();
    let answer = worker.call().await.accept();
    answer.delta("so far").await;
    let (text, end) = stream.rest().await;
    assert_eq!(text, "so far");
    assert_eq!(end.unwrap_err().code(), Code::DeadlineExceeded);
    answer.gone().await;
}

#[tokio::test]
async fn a_call_without_a_sequence_does_not_wait_for_one() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model_with("chat", &["box"], 1).await;
    let _stream = harness.generate("chat").await;
    let _busy = worker.call().await;
    let request =
        TokenizeRequest { model: "chat".into(), input: Some(tokenize_request::Input::Prompt("ab".into())) };
    let ids = harness.client().tokenize(request).await.unwrap().into_inner().ids;
    assert_eq!(ids, [97, 98]);
}

#[tokio::test]
async fn models_are_listed_with_their_state() {
    let (harness, _worker) = echoing().await;
    harness.loading("coder", "loading", 0, 0).await;
    harness.failed("broken", Fault::Rejected("spec".into())).await;
    let models = harness.client().list_models(ListModelsRequest {}).await.unwrap().into_inner().models;
    let states: Vec<_> = models.iter().map(|m| (m.name.as_str(), m.state(), m.ready_replicas)).collect();
    assert_eq!(
        states,
        [
            ("broken", ModelState::Failed, 0),
            ("chat", ModelState::Ready, 1),
            ("coder", ModelState::Loading, 0)
        ]
    );
    assert_eq!((models[1].context_tokens, models[1].quantization.as_str()), (4096, "Q4_1"));
    assert!(models[1].age.unwrap().seconds > 0);
}
