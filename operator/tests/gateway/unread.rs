//! Clients that ask and do not read the answer.

use std::time::Duration;

use hearth_operator::gateway::Args;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Request;

use crate::{
    harness::{Harness, args, prompt, soon},
    worker::FakeWorker,
};

/// What an answer is made of: a few of these fill every buffer on the way.
const PIECE: usize = 256 * 1024;

async fn start(args: Args) -> (Harness, FakeWorker) {
    let harness = Harness::start_with(args).await;
    let worker = harness.worker("box", &["chat"]).await;
    harness.model_with("chat", &["box"], 1).await;
    (harness, worker)
}

/// Short, so that the test is. What ends the answer is the gateway's clock, not the test's.
fn impatient() -> Args {
    Args { max_unread: Duration::from_millis(300), ..args() }
}

fn hasty() -> Args {
    Args { max_deadline: Duration::from_millis(600), ..args() }
}

#[tokio::test]
async fn over_grpc_it_is_ended_after_a_while() {
    let (harness, mut worker) = start(impatient()).await;
    let mut client = harness.client_that_does_not_read().await;
    let _answer = soon(client.generate(prompt("chat", "hi"))).await.unwrap();
    worker.call().await.accept().flood("one ").await;
    harness.until_counted(0, 0).await;
    let metrics = harness.metrics().await;
    for line in [
        "hearth_gateway_unread_total{model=\"chat\"} 1",
        "hearth_gateway_requests_total{model=\"chat\",method=\"Generate\",code=\"ABORTED\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn over_grpc_its_deadline_counts() {
    let (harness, mut worker) = start(args()).await;
    let mut client = harness.client_that_does_not_read().await;
    let mut request = Request::new(prompt("chat", "hi"));
    request.set_timeout(Duration::from_millis(500));
    let _answer = soon(client.generate(request)).await.unwrap();
    let answer = worker.call().await.accept();
    answer.delta("one").await;
    // All the client's room is taken by one item, and the worker has nothing more to say.
    answer.gone().await;
    harness.until_counted(0, 0).await;
    let metrics = harness.metrics().await;
    let line =
        "hearth_gateway_requests_total{model=\"chat\",method=\"Generate\",code=\"DEADLINE_EXCEEDED\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn as_server_sent_events_it_is_ended_and_told_why() {
    let cases = [
        (impatient(), "nothing of the answer was read for"),
        (hasty(), "the client had not taken what was generated"),
    ];
    for (args, why) in cases {
        let (harness, mut worker) = start(args).await;
        let mut stream = TcpStream::connect(harness.http).await.unwrap();
        let body = json!({"model": "chat", "prompt": "hi", "stream": true}).to_string();
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        worker.call().await.accept().flood(&"x".repeat(PIECE)).await;
        harness.until_counted(0, 0).await;
        // Whoever reads after all finds an end.
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        let end = &answer[answer.len().saturating_sub(500)..];
        assert!(end.contains(why), "{end}");
        assert!(!answer.contains("[DONE]"));
    }
}

#[tokio::test]
async fn one_who_waits_in_the_queue_need_not_read() {
    let (harness, mut worker) = start(impatient()).await;
    harness.loading("chat", "loading", 0, 0).await;
    let mut client = harness.client_that_does_not_read().await;
    let _answer = soon(client.generate(prompt("chat", "hi"))).await.unwrap();
    for done in 1..100 {
        harness.loading("chat", "loading", done, 100).await;
    }
    harness.until_counted(1, 0).await;
    harness.model_with("chat", &["box"], 1).await;
    worker.call().await.accept();
}
