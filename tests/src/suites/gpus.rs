//! The device plugin's side: GPUs that others hold, and GPUs that fail.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::json;

use crate::harness::{Ctx, GPU, NAMESPACE, condition, gpu_node, park, prompt, smollm2};

/// Another Pod holds every GPU first: the model waits and says who has them; it is served when that Pod goes.
pub(super) async fn taken_by_another_pod(ctx: &Ctx) -> Result<()> {
    let (node, count) = gpu_node(ctx).await?;
    park(ctx, &node).await?;
    let pods = ctx.cluster.pods(NAMESPACE);
    let other: Pod = serde_json::from_value(json!({
        "metadata": {"name": "other"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "holds", "image": "localhost/pause:1",
                "resources": {"limits": {GPU: count.to_string()}},
            }],
        },
    }))?;
    pods.create(&PostParams::default(), &other).await?;
    let running = |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.status.as_ref()?.phase.as_deref()).is_some_and(|phase| phase == "Running")
    };
    ctx.cluster.wait(pods.clone(), "other", Duration::from_secs(60), "Running", running).await?;

    let model = smollm2(ctx, "chat");
    ctx.cluster.apply(&model).await?;
    let outcome = async {
        let waiting = ctx.wait_condition(&model, "Placed", "False").await?;
        let (_, _, message) = condition(&waiting, "Placed").context("the condition")?;
        for word in ["GPU", "e2e/other"] {
            ensure!(message.contains(word), "the message does not say {word}: {message}");
        }
        anyhow::Ok(())
    }
    .await;
    pods.delete("other", &DeleteParams::default()).await?;
    outcome?;
    ctx.wait_condition(&model, "Ready", "True").await?;
    ensure!(ctx.gateway().await?.generate(prompt("chat", "Hello", 4)).await?.tokens == 4);
    Ok(())
}

/// The plugin reports the GPU that serves unhealthy: the model moves to another.
pub(super) async fn unhealthy_is_planned_around(ctx: &Ctx) -> Result<()> {
    let (node, count) = gpu_node(ctx).await?;
    ensure!(count >= 2, "needs two GPUs on {node}");
    let applied = smollm2(ctx, "chat");
    let model = ctx.apply_ready(&applied).await?;
    let bad = model.status.context("a status")?.replicas.first().context("a replica")?.device.clone();
    // The mock's UUIDs end in the GPU's index.
    let index = u64::from_str_radix(bad.rsplit('-').next().unwrap_or_default(), 16)
        .with_context(|| format!("the index in {bad}"))?;
    ctx.node.script("gpu-health.sh", &[&index.to_string(), "bad"]).await?;
    let moved = ctx
        .cluster
        .wait(ctx.cluster.models(NAMESPACE), "chat", Duration::from_secs(120), "moved", |model| {
            model.is_some_and(|model| {
                let elsewhere = model
                    .status
                    .as_ref()
                    .and_then(|status| status.replicas.first())
                    .is_some_and(|replica| replica.device != bad);
                elsewhere && condition(model, "Ready").is_some_and(|(status, ..)| status == "True")
            })
        })
        .await;
    ctx.node.script("gpu-health.sh", &[&index.to_string(), "ok"]).await?;
    moved?;
    ensure!(ctx.gateway().await?.generate(prompt("chat", "Hello", 4)).await?.tokens == 4);
    let nodes: Api<Node> = Api::all(ctx.cluster.client.clone());
    let whole = |node: Option<&Node>| {
        node.and_then(|node| node.status.as_ref()?.allocatable.as_ref()?.get(GPU)?.0.parse().ok())
            == Some(count)
    };
    ctx.cluster.wait(nodes, &node, Duration::from_secs(60), "whole again", whole).await?;
    Ok(())
}
