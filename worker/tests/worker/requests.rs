//! Requests that are wrong, late, too big, or left alone.

use std::time::Duration;

use hearth_proto::REPLICA_METADATA;
use hearth_proto::inference::v1::generate_request::Input;
use hearth_proto::inference::v1::{
    Chat, GenerateRequest, SamplingOptions, StopOptions, TokenizeRequest, tokenize_request,
};
use hearth_proto::worker::v1::{Replica, ReplicaStatus};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::support::server::FileServer;
use crate::support::worker::{Options, StateDir, Worker};
use crate::support::{collect, first_delta, replica, request, tiny};

/// A worker with the model `chat`; 2 sequences of 2048 tokens.
async fn ready(tokens_per_second: f64) -> (StateDir, FileServer, Worker) {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::simulated(tokens_per_second)).await;
    worker.apply(1, vec![replica("chat", &files.url(), files.bytes())]).await.unwrap();
    worker.until_ready("chat").await;
    (dir, files, worker)
}

async fn refused(worker: &Worker, request: impl tonic::IntoRequest<GenerateRequest>) -> Status {
    match worker.inference().generate(request).await {
        Err(status) => status,
        Ok(stream) => collect(stream.into_inner()).await.1.expect_err("a refusal"),
    }
}

#[tokio::test]
async fn wrong_fields_are_named() {
    let (_dir, _files, worker) = ready(2000.0).await;
    type Change = fn(&mut GenerateRequest);
    let cases: [(&str, Change); 9] = [
        ("model", |r| r.model.clear()),
        ("input", |r| r.input = None),
        ("prompt", |r| r.input = Some(Input::Prompt(String::new()))),
        ("chat.messages", |r| r.input = Some(Input::Chat(Chat::default()))),
        ("sampling.temperature", |r| {
            r.sampling = Some(SamplingOptions { temperature: Some(-1.0), ..Default::default() });
        }),
        ("sampling.top_p", |r| {
            r.sampling = Some(SamplingOptions { top_p: Some(0.0), ..Default::default() });
        }),
        ("stop.max_tokens", |r| {
            r.stop = Some(StopOptions { max_tokens: Some(0), ..Default::default() });
        }),
        ("stop.sequences", |r| {
            r.stop = Some(StopOptions { sequences: vec![String::new()], ..Default::default() });
        }),
        ("prompt", |r| r.input = Some(Input::Prompt("word ".repeat(3000)))),
    ];
    for (field, change) in cases {
        let mut wrong = request("chat", "x", 5);
        change(&mut wrong);
        let status = refused(&worker, wrong).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        let details = status.get_details_bad_request().unwrap();
        assert_eq!(details.field_violations[0].field, field);
        assert!(!details.field_violations[0].description.is_empty());
    }
    let unknown = refused(&worker, request("nobody", "x", 5)).await;
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(unknown.message().contains("served are: chat"), "{}", unknown.message());
}

/// The prompt fits one of two models of the same name only: who answers shows in how it ends.
#[tokio::test]
async fn a_replica_that_is_named_answers_and_no_other_of_its_model_s_name() {
    let (_dir, files, worker) = ready(2000.0).await;
    let chat = || replica("chat", &files.url(), files.bytes());
    let renamed = Replica { id: "short".into(), context_tokens: 64, ..chat() };
    worker.apply(2, vec![chat(), renamed]).await.unwrap();
    worker.until_ready("short").await;
    let ask = |id: &'static str| {
        let mut request = Request::new(request("chat", &"x".repeat(200), 5));
        request.metadata_mut().insert(REPLICA_METADATA, id.parse().unwrap());
        request
    };
    // Often enough that the least loaded of both would be the other one at some time.
    for _ in 0..4 {
        let stream = worker.inference().generate(ask("chat")).await.unwrap();
        collect(stream.into_inner()).await.1.unwrap();
        assert_eq!(refused(&worker, ask("short")).await.code(), Code::InvalidArgument);
    }
    let gone = refused(&worker, ask("gone")).await;
    assert_eq!(gone.code(), Code::NotFound, "the gateway looks again: {gone}");
    let tokens = |id: &'static str| {
        let input = Some(tokenize_request::Input::Prompt("x".into()));
        let mut request = Request::new(TokenizeRequest { model: "chat".into(), input });
        request.metadata_mut().insert(REPLICA_METADATA, id.parse().unwrap());
        request
    };
    worker.inference().tokenize(tokens("short")).await.unwrap();
    assert_eq!(worker.inference().tokenize(tokens("gone")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_clearly() {
    let (_dir, _files, worker) = ready(2000.0).await;
    let status = refused(&worker, request("chat", &"x".repeat(20 << 20), 5)).await;
    // Not the code by which a worker says that it is full: that is tried again.
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("larger than 16777216 bytes"), "{}", status.message());
    // Just under it is another matter: it is read, and found too long.
    let status = refused(&worker, request("chat", &"x".repeat((16 << 20) - 100), 5)).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.get_details_bad_request().is_some(), "{status:?}");
}

#[tokio::test]
async fn deadlines_end_streams() {
    // Minutes of output, and time enough for its first piece on a busy machine.
    let (_dir, _files, worker) = ready(5.0).await;
    let with_timeout = |value: &'static str| {
        let mut request = Request::new(request("chat", "x", 1000));
        request.metadata_mut().insert("grpc-timeout", value.parse().unwrap());
        request
    };
    let stream = worker.inference().generate(with_timeout("5S")).await.unwrap().into_inner();
    let (text, end) = collect(stream).await;
    assert_eq!(end.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(!text.is_empty());
    worker.until_replica("let go", "chat", idle).await;
}

fn idle(replica: &ReplicaStatus) -> bool {
    replica.outstanding_requests == 0
}

#[tokio::test]
async fn a_client_that_goes_frees_its_place() {
    let (_dir, _files, worker) = ready(20.0).await;
    // Both sequences are taken by streams that would run for minutes.
    let mut streams = Vec::new();
    for _ in 0..2 {
        let stream = worker.inference().generate(request("chat", "x", 1500)).await.unwrap();
        streams.push(stream.into_inner());
        first_delta(streams.last_mut().unwrap()).await;
    }
    worker.until_replica("busy", "chat", |r| r.outstanding_requests == 2).await;
    drop(streams);
    worker.until_replica("let go", "chat", idle).await;
    // Only if the engine let go, too, do two more run at once.
    let next = || async {
        let stream = worker.inference().generate(request("chat", "x", 3)).await.unwrap();
        collect(stream.into_inner()).await.1.unwrap()
    };
    tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(next(), next()) }).await.unwrap();
    let (_, metrics) = worker.get("/metrics").await;
    let count = r#"hearth_worker_requests_total{model="chat",code="Cancelled"} 2"#;
    assert!(metrics.contains(count), "{metrics}");
}

#[tokio::test]
async fn a_full_worker_refuses_with_a_time_to_come_back() {
    let (_dir, _files, worker) = ready(1.0).await;
    // Far more than run and wait at once.
    let mut streams = Vec::new();
    let refused = loop {
        assert!(streams.len() < 500, "nothing was refused");
        let stream = worker.inference().generate(request("chat", "x", 1500)).await.unwrap();
        streams.push(stream.into_inner());
        let last = streams.last_mut().unwrap();
        if let Ok(Err(status)) = tokio::time::timeout(Duration::from_millis(20), last.message()).await {
            break status;
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    assert!(refused.metadata().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test]
async fn tokenizes() {
    let (_dir, _files, worker) = ready(2000.0).await;
    let input = Some(tokenize_request::Input::Prompt("hello".into()));
    let request = TokenizeRequest { model: "chat".into(), input };
    let ids = worker.inference().tokenize(request).await.unwrap().into_inner().ids;
    assert!(!ids.is_empty());
    let nothing = TokenizeRequest { model: "chat".into(), input: None };
    let status = worker.inference().tokenize(nothing).await.unwrap_err();
    assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "input");
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_clients_mistake() {
    use tonic::codegen::http::uri::PathAndQuery;

    let (_dir, _files, worker) = ready(2000.0).await;
    let mut client = tonic::client::Grpc::new(worker.channel());
    client.ready().await.unwrap();
    // A number where `model` is text.
    let wrong = hearth_proto::worker::v1::Fence { epoch: 1, generation: 2 };
    let codec = tonic_prost::ProstCodec::<_, hearth_proto::inference::v1::TokenizeResponse>::default();
    let path = PathAndQuery::from_static("/hearth.inference.v1.InferenceService/Tokenize");
    let status = client.unary(Request::new(wrong), path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("UTF-8"), "{}", status.message());
}
