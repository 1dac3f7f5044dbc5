//! What happens between SIGTERM and the end.

use std::time::Duration;

use hearth_proto::inference::v1::FinishReason;
use tonic::Code;

use crate::harness::{Harness, args, text};

#[tokio::test]
async fn running_requests_finish_and_then_it_ends() {
    let mut harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let mut stream = harness.generate("chat").await;
    let answer = worker.call().await.accept();
    answer.delta("one ").await;
    assert_eq!(stream.text().await, "one ");
    let mut states = harness.forwarder.lifecycle.subscribe();
    harness.order_stop();
    states.wait_for(|state| state.stopping).await.unwrap();
    answer.delta("two").await;
    answer.finish(FinishReason::Stop, 1, 2).await;
    let (rest, end) = stream.rest().await;
    assert_eq!(rest, "two");
    assert!(end.is_ok());
    harness.stopped().await;
}

#[tokio::test]
async fn what_runs_longer_than_the_grace_gets_a_last_word() {
    let mut harness = Harness::start_with(hearth_operator::gateway::Args {
        stop_delay: Duration::from_millis(200),
        stop_grace: Duration::from_millis(400),
        ..args()
    })
    .await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    harness.loading("slow", "loading", 0, 0).await;
    let mut running = harness.generate("chat").await;
    let mut waiting = harness.generate("slow").await;
    let answer = worker.call().await.accept();
    answer.delta("one").await;
    let mut states = harness.forwarder.lifecycle.subscribe();
    harness.order_stop();
    states.wait_for(|state| state.stopping).await.unwrap();
    let response = harness.get("/readyz").await;
    assert_eq!(
        (response.status().as_u16(), text(response).await.as_str()),
        (503, "the gateway is stopping\n")
    );
    for stream in [&mut running, &mut waiting] {
        assert_eq!(stream.error().await.code(), Code::Unavailable);
    }
    answer.gone().await;
    harness.stopped().await;
}
