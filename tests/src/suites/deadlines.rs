//! Deadlines that pass.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hearth_proto::inference::v1::{GenerateResponse, generate_response::Event};
use prost::Message;
use serde_json::json;
use tonic::Code;

use crate::harness::{Ctx, GENERATE, call, prompt, served_model, smollm2};

/// A deadline that had passed on arrival, or does at once, ends the request at once, and more of them than
/// there are sequences leave all of those free. So does one that passes between two tokens.
pub(super) async fn passed_ends_at_once_and_frees_the_sequence(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let gateway = ctx.gateway().await?;
    gateway.generate(prompt("chat", "Hello", 4)).await?;
    let long = prompt("chat", "Count: one, two,", 900).encode_to_vec();
    // A client's own library would end the call before the server does.
    for (timeout, limit) in [("0n", 0), ("0S", 0), ("1u", 0), ("400m", 400)] {
        for _ in 0..4 {
            let began = Instant::now();
            let status = call(&gateway.grpc, GENERATE, &[("grpc-timeout", timeout)], &long).await?;
            ensure!(status.code() == Code::DeadlineExceeded, "{timeout}: ended with {status}");
            let allowed = Duration::from_millis(limit) + Duration::from_secs(1);
            ensure!(began.elapsed() < allowed, "{timeout}: took {:?}", began.elapsed());
        }
    }
    let answer = tokio::time::timeout(
        Duration::from_secs(5),
        gateway.generate(prompt("chat", "The capital of France is", 4)),
    );
    ensure!(answer.await.context("sequences are still held")??.tokens == 4);
    let metrics = reqwest::get(format!("{}/metrics", gateway.http)).await?.text().await?;
    for gauge in ["hearth_gateway_waiting", "hearth_gateway_outstanding"] {
        let line = format!("{gauge}{{model=\"chat\"}} 0");
        ensure!(metrics.contains(&line), "not {line} in\n{metrics}");
    }
    Ok(())
}

/// A request for a model that is being fetched sees how far that is, and ends at its deadline.
pub(super) async fn while_loading(ctx: &Ctx) -> Result<()> {
    // At 8 MB a second or less, the file takes longer than the request may.
    let slow = json!({"source": {"uri": ctx.faulty("slow=8000")?}, "context": {"min": 512}, "sequences": 1});
    let model = served_model("slow", slow);
    ctx.cluster.apply(&model).await?;
    ctx.wait_condition(&model, "Placed", "True").await?;
    let gateway = ctx.gateway().await?;
    let mut stream = gateway.start(prompt("slow", "Hello", 4), Duration::from_secs(6)).await?;
    let mut furthest = 0;
    let status = loop {
        match stream.message().await {
            Ok(Some(GenerateResponse { event: Some(Event::Waiting(waiting)) })) => {
                ensure!(!waiting.message.is_empty(), "waiting without a word");
                furthest = furthest.max(waiting.done_bytes);
            }
            Ok(other) => anyhow::bail!("instead of waiting: {other:?}"),
            Err(status) => break status,
        }
    };
    ensure!(status.code() == Code::DeadlineExceeded, "ended with {status}");
    ensure!(furthest > 0, "no progress was told");
    Ok(())
}
