//! Parts die; serving goes on or comes back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{Ctx, Gateway, condition, prompt, smollm2};

/// The epoch of the leader.
pub(super) async fn epoch(ctx: &Ctx) -> Result<u64> {
    let leases: Api<Lease> = ctx.cluster.system();
    let lease = leases.get("hearth-controller").await?;
    let annotations = lease.metadata.annotations.unwrap_or_default();
    Ok(annotations.get("hearth.dev/epoch").context("no epoch on the Lease")?.parse()?)
}

async fn scale_controller(ctx: &Ctx, replicas: i32) -> Result<()> {
    let deployments: Api<Deployment> = ctx.cluster.system();
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments.patch("hearth-controller", &PatchParams::default(), &patch).await?;
    let reached = |deployment: Option<&Deployment>| {
        deployment.and_then(|deployment| deployment.status.as_ref()).is_some_and(|status| {
            status.replicas.unwrap_or(0) == replicas && status.ready_replicas.unwrap_or(0) == replicas
        })
    };
    ctx.cluster
        .wait(deployments, "hearth-controller", Duration::from_secs(60), "scaled", reached)
        .await
        .map(drop)
}

/// Generates until it works: after a death, the first tries may be refused, but cleanly.
async fn answers_within(gateway: &Gateway, limit: Duration) -> Result<()> {
    let mut last = None;
    let tries = async {
        loop {
            match gateway.generate(prompt("chat", "The capital of France is", 4)).await {
                Ok(answer) => break answer.tokens,
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    match tokio::time::timeout(limit, tries).await {
        Ok(tokens) => ensure!(tokens == 4, "{tokens} tokens"),
        Err(_) => anyhow::bail!("no answer within {} s: {last:?}", limit.as_secs()),
    }
    Ok(())
}

/// The controller is killed: requests go on all the way to the next leader, whose epoch is higher, and past it;
/// edits work again.
pub(super) async fn controller_restarts(ctx: &Ctx) -> Result<()> {
    let mut model = smollm2(ctx, "chat");
    ctx.apply_ready(&model).await?;
    let before = epoch(ctx).await?;
    let gateway = ctx.gateway().await?;
    // The gateway may hear of the model after us.
    gateway.generate(prompt("chat", "Hello", 8)).await?;
    ctx.node.process("hearth-operator", "controller")?.kill().await?;
    let mut after_takeover = 0;
    while after_takeover < 8 {
        let answer = gateway.generate(prompt("chat", "Hello", 8)).await.context("a request failed")?;
        ensure!(answer.tokens == 8, "{} tokens", answer.tokens);
        ensure!(answer.waits == 0, "the model was not ready for a while");
        after_takeover += u32::from(epoch(ctx).await? > before);
    }
    model.spec.context = serde_json::from_value(json!({"min": 1536, "max": 1536}))?;
    ctx.apply_ready(&model).await?;
    answers_within(&gateway, Duration::from_secs(10)).await
}

/// An engine process is killed in mid-stream: one terminal error, then the model is loaded anew.
pub(super) async fn engine_killed(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let gateway = ctx.gateway().await?;
    let mut stream = gateway.start(prompt("chat", "Count: one, two,", 800), Duration::from_secs(60)).await?;
    stream.message().await?.context("no first message")?;
    let engines = ctx.node.processes("hearth-worker", "engine")?;
    ensure!(!engines.is_empty(), "no engine process runs");
    for engine in engines {
        engine.kill().await?;
    }
    let status = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => anyhow::bail!("the stream ended as if it were whole"),
            Err(status) => break status,
        }
    };
    ensure!(
        matches!(status.code(), tonic::Code::Aborted | tonic::Code::Unavailable),
        "the stream ended with {status}"
    );
    answers_within(&gateway, Duration::from_secs(60)).await
}

/// The worker is killed while there is no controller: it restores its set alone.
pub(super) async fn worker_killed_while_controller_is_down(ctx: &Ctx) -> Result<()> {
    let model = smollm2(ctx, "chat");
    ctx.apply_ready(&model).await?;
    let gateway = ctx.gateway().await?;
    scale_controller(ctx, 0).await?;
    let outcome = async {
        ctx.node.process("hearth-worker", "serve")?.kill().await?;
        answers_within(&gateway, Duration::from_secs(90)).await
    }
    .await;
    scale_controller(ctx, 1).await?;
    outcome?;
    let model = ctx.wait_condition(&model, "Ready", "True").await?;
    ensure!(condition(&model, "Ready").is_some());
    Ok(())
}
