//! A model store without room.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_model::testing::{TinyLlama, tiny_llama_gguf};
use serde_json::json;

use crate::harness::{Ctx, NAMESPACE, condition, gpu_node, park, prompt, served_model, smollm2};

/// A file of about 100 KiB, beside the test model.
const TINY: &str = "e2e-tiny.gguf";

/// The disk behind a Worker's store is too small for the model: `kubectl describe` says how many bytes are
/// needed and how many are free; a smaller model is served meanwhile, and the first one once it names a file
/// that fits.
pub(super) async fn full_disk_says_bytes_and_recovers(ctx: &Ctx) -> Result<()> {
    // The claim is made with the Worker's first Pod.
    ctx.apply_ready(&smollm2(ctx, "first")).await?;
    ctx.cluster.remove_all_models().await?;
    let (node, _) = gpu_node(ctx).await?;
    let claim = format!("hearth-worker-{node}");
    let tiny = ctx.models.join(TINY);
    tokio::fs::write(&tiny, tiny_llama_gguf(&TinyLlama::new(1))).await?;
    park(ctx, &node).await?;
    ctx.node.script("disk.sh", &["small", &claim, "64"]).await?;
    let outcome = served_in_spite_of_it(ctx).await;
    // Whatever came of it, the next case has its disk again.
    ctx.cluster.remove_all_models().await?;
    park(ctx, &node).await?;
    ctx.node.script("disk.sh", &["whole", &claim]).await?;
    tokio::fs::remove_file(&tiny).await?;
    outcome
}

async fn served_in_spite_of_it(ctx: &Ctx) -> Result<()> {
    let mut large = smollm2(ctx, "large");
    ctx.cluster.apply(&large).await?;
    let refused = ctx
        .cluster
        .wait(ctx.cluster.models(NAMESPACE), "large", Duration::from_secs(90), "short of disk", |model| {
            let reason = |kind| model.and_then(|model| condition(model, kind)).map(|(_, reason, _)| reason);
            reason("Ready") == Some("DiskFull") || reason("Placed") == Some("StoreFull")
        })
        .await?
        .context("the model is gone")?;
    let size = refused.status.and_then(|status| status.resolved?.size_bytes).context("the file's size")?;
    let text = ctx.cluster.kubectl(&["-n", NAMESPACE, "describe", "sm", "large"]).await?;
    let needed = [size.to_string(), hearth_size(size)];
    ensure!(needed.iter().any(|needed| text.contains(needed)), "none of {needed:?} needed in\n{text}");
    ensure!(text.contains("bytes free") || text.contains("left"), "no free bytes in\n{text}");

    let (base, _) = ctx.model_uri.rsplit_once('/').context("a folder in the model's URI")?;
    let source = json!({"uri": format!("{base}/{TINY}")});
    let small = json!({"source": source, "context": {"min": 64, "max": 128}, "sequences": 1});
    ctx.apply_ready(&served_model("small", small)).await?;
    let gateway = ctx.gateway().await?;
    ensure!(gateway.generate(prompt("small", "Hello", 4)).await?.tokens == 4);

    large.spec.source.uri = format!("{base}/{TINY}");
    large.spec.context = serde_json::from_value(json!({"min": 64, "max": 128}))?;
    ctx.apply_ready(&large).await?;
    ensure!(gateway.generate(prompt("large", "Hello", 4)).await?.tokens == 4);
    Ok(())
}

/// As a plan's rejections write it.
fn hearth_size(bytes: u64) -> String {
    format!("{}Mi", (bytes + (1 << 19)) >> 20)
}
