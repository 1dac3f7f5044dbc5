//! Workers that fail, and clients that go away.

use hearth_operator::gateway::routes::facts::{Progress, ReplicaFact, Standing};
use hearth_proto::{
    REPLICA_METADATA,
    inference::v1::{FinishReason, TokenizeRequest, generate_response::Event, tokenize_request::Input},
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    harness::{Harness, Stream, fact, prompt},
    worker::FakeWorker,
};

#[tokio::test]
async fn before_the_first_token_another_replica_takes_over() {
    for refusal in [
        Status::resource_exhausted("no KV pages are free"),
        Status::unavailable("the worker is draining"),
        Status::not_found("unloaded a moment ago"),
        Status::aborted("the engine process died"),
    ] {
        let harness = Harness::start().await;
        let mut attic = harness.worker("attic", &["chat"]).await;
        let mut cellar = harness.worker("cellar", &["chat"]).await;
        harness.model("chat", &["attic", "cellar"]).await;
        let mut stream = harness.generate("chat").await;
        // Equal load: the first in order is taken.
        attic.call().await.refuse(refusal);
        let answer = cellar.call().await.accept();
        answer.delta("hello").await;
        answer.finish(FinishReason::Stop, 1, 1).await;
        let (text, end) = stream.rest().await;
        assert_eq!(text, "hello");
        assert!(end.is_ok());
        let metrics = harness.metrics().await;
        assert!(metrics.contains("hearth_gateway_retries_total{model=\"chat\"} 1"), "{metrics}");
    }
}

/// Two models of one name on one worker, which cannot tell them apart by it.
#[tokio::test]
async fn the_replica_that_is_to_answer_is_named() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let ask = async |worker: &mut FakeWorker| {
        let mut stream = harness.generate("chat").await;
        let call = worker.call().await;
        let id = call.metadata.get(REPLICA_METADATA).unwrap().to_str().unwrap().to_owned();
        call.accept().finish(FinishReason::Stop, 1, 1).await;
        stream.rest().await.1.unwrap();
        id
    };
    assert_eq!(ask(&mut worker).await, "chat-box");
    // An older model takes the name while the first one still runs.
    let mut older = fact("chat", Standing::Pending(Progress::saying("waiting for a plan")));
    older.key.namespace = "another".into();
    older.created = jiff::Timestamp::from_second(1_600_000_000).unwrap();
    let place =
        |id: &str| ReplicaFact { id: id.into(), worker: "box".into(), device: "cpu".into(), sequences: 4 };
    older.ready = vec![place("older-0")];
    harness.tell(older).await;
    assert_eq!(ask(&mut worker).await, "older-0");
    let request = TokenizeRequest { model: "chat".into(), input: Some(Input::Prompt("hi".into())) };
    harness.client().tokenize(request).await.unwrap();
    assert_eq!(worker.named().await, "older-0");
}

#[tokio::test]
async fn a_worker_that_cannot_be_reached_is_passed_over() {
    let harness = Harness::start().await;
    let dead = harness.worker("attic", &["chat"]).await;
    let _alive = harness.worker("cellar", &["chat"]).await.echo();
    harness.model("chat", &["attic", "cellar"]).await;
    dead.kill();
    let (text, end) = harness.generate("chat").await.rest().await;
    assert_eq!(text, "hi");
    assert!(end.is_ok());
}

#[tokio::test]
async fn the_only_replica_is_tried_again_when_it_is_back() {
    let harness = Harness::start().await;
    let worker = harness.worker("box", &["chat"]).await;
    let address = worker.address.clone();
    harness.model("chat", &["box"]).await;
    worker.kill();
    let mut stream = harness.generate("chat").await;
    let Some(Event::Waiting(waiting)) = stream.next().await.unwrap() else { panic!() };
    assert_eq!(waiting.message, "no replica answers; trying again in a moment");
    let _back = FakeWorker::listen(&harness.ca, "box", &["chat"], &address).await.echo();
    let (text, end) = stream.rest().await;
    assert_eq!(text, "hi");
    assert!(end.is_ok());
}

#[tokio::test]
async fn an_impostor_gets_no_request() {
    let harness = Harness::start().await;
    // A worker of the same installation, at the address where another one should be.
    let mut other = FakeWorker::start(&harness.ca, "cellar", &["chat"]).await;
    harness.know("attic", Some(&other.address)).await;
    harness.model("chat", &["attic"]).await;
    let mut stream = harness.generate("chat").await;
    let Some(Event::Waiting(_)) = stream.next().await.unwrap() else { panic!() };
    assert!(other.is_idle());
}

#[tokio::test]
async fn death_in_the_middle_of_an_answer_is_one_terminal_error() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    let _other = harness.worker("other", &["chat"]).await.echo();
    harness.model("chat", &["box", "other"]).await;
    let mut stream = harness.generate("chat").await;
    let answer = worker.call().await.accept();
    answer.delta("half an ").await;
    assert_eq!(stream.text().await, "half an ");
    worker.kill();
    let (text, end) = stream.rest().await;
    assert_eq!(text, "", "another replica's words would not fit");
    let status = end.unwrap_err();
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(
        status.message(),
        "worker \"box\" stopped in the middle of the answer: the connection to it broke"
    );
    harness.until_counted(0, 0).await;
}

#[tokio::test]
async fn an_answer_without_an_end_is_an_error() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut stream = harness.generate("chat").await;
    let answer = worker.call().await.accept();
    answer.delta("half").await;
    drop(answer);
    let (text, end) = stream.rest().await;
    assert_eq!(text, "half");
    assert_eq!(end.unwrap_err().code(), Code::Aborted);
}

#[tokio::test]
async fn what_the_worker_says_of_the_request_reaches_the_client() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut stream = harness.generate("chat").await;
    let details = tonic_types::ErrorDetails::with_bad_request_violation("prompt", "is 9000 tokens");
    worker.call().await.refuse(Status::with_error_details(Code::InvalidArgument, "too long", details));
    let status = stream.error().await;
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "too long"));
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "prompt");
}

#[tokio::test]
async fn kv_that_runs_out_in_mid_stream_keeps_its_words() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut stream = harness.generate("chat").await;
    let answer = worker.call().await.accept();
    answer.delta("half").await;
    answer.fail(Status::aborted("no KV page is left")).await;
    let status = stream.error().await;
    assert_eq!((status.code(), status.message()), (Code::Aborted, "no KV page is left"));
}

#[tokio::test]
async fn a_request_that_kills_engines_is_given_up() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut stream = harness.generate("chat").await;
    // As a worker tells it when its engine process dies before the first token.
    for _ in 0..3 {
        worker.call().await.accept().fail(Status::unavailable("the engine process died")).await;
    }
    let status = stream.error().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().starts_with("3 workers failed"), "{status}");
    assert!(worker.is_idle());
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_replica() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model_with("chat", &["box"], 1).await;
    let stream = harness.generate("chat").await;
    let answer = worker.call().await.accept();
    answer.delta("one").await;
    let mut next = Stream::of(harness.client(), prompt("chat", "next")).await.unwrap();
    harness.until_counted(1, 1).await;
    drop(stream);
    answer.gone().await;
    let call = worker.call().await;
    assert_eq!(call.request, prompt("chat", "next"));
    let answer = call.accept();
    answer.finish(FinishReason::Stop, 1, 1).await;
    assert!(next.rest().await.1.is_ok());
    let metrics = harness.metrics().await;
    let line = "hearth_gateway_requests_total{model=\"chat\",method=\"Generate\",code=\"CANCELLED\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue() {
    let harness = Harness::start().await;
    harness.loading("chat", "loading", 0, 0).await;
    let stream = harness.generate("chat").await;
    harness.until_counted(1, 0).await;
    drop(stream);
    harness.until_counted(0, 0).await;
}
