//! Model files that cannot be served, and downloads that break.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::harness::{Ctx, NAMESPACE, condition, prompt, served_model, smollm2};

/// The server breaks the transfer off half-way: the download goes on from there. Comes first of all cases,
/// while no store holds the file.
pub(super) async fn cut_download_resumes(ctx: &Ctx) -> Result<()> {
    let stats = format!("http://{}:8080/stats", ctx.cluster.models_server_ip().await?);
    let http = reqwest::Client::new();
    http.delete(&stats).send().await?.error_for_status()?;
    let uri = ctx.faulty("cut")?;
    ctx.apply_ready(&served_model(
        "cut",
        json!({"source": {"uri": uri}, "context": {"min": 512, "max": 512}, "sequences": 1}),
    ))
    .await?;
    ensure!(ctx.gateway().await?.generate(prompt("cut", "Hello", 4)).await?.tokens == 4);

    let requests: Vec<serde_json::Value> = http.get(&stats).send().await?.json().await?;
    let size = requests.iter().filter_map(|request| request["bytes"].as_u64()).sum::<u64>();
    let resumed = requests.iter().any(|request| {
        let from =
            request["range"].as_str().and_then(|range| range.strip_prefix("bytes=")?.split('-').next());
        request["status"] == 206
            && from.and_then(|from| from.parse::<u64>().ok()).is_some_and(|from| from > 32 << 20)
    });
    ensure!(resumed, "no request went on from the middle: {requests:?}");
    // Once the file and a few megabytes of header, not twice the file.
    ensure!(size < 130 << 20, "{size} bytes were transferred");
    Ok(())
}

/// Each broken file is refused with a condition that says what and where; a good model beside it serves on.
pub(super) async fn broken_files_say_what_is_wrong(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let (base, _) = ctx.model_uri.rsplit_once('/').context("a folder in the model's URI")?;
    let cases = [
        ("missing", format!("{base}/no-such-file.gguf"), "404"),
        ("magic", ctx.faulty("magic")?, "byte 0"),
        ("truncated", ctx.faulty("truncate")?, "byte"),
    ];
    for (name, uri, word) in cases {
        let model = served_model(name, json!({"source": {"uri": uri}, "context": {"min": 512}}));
        ctx.cluster.apply(&model).await?;
        let model = ctx.wait_condition(&model, "Resolved", "False").await?;
        let (_, _, message) = condition(&model, "Resolved").context("the condition")?;
        ensure!(message.contains(word), "{name}: the message does not say {word:?}: {message}");
    }

    // Only the whole file shows that its digest is another one.
    let mut wrong = served_model(
        "digest",
        json!({"source": {"uri": ctx.faulty("corrupt")?}, "context": {"min": 512, "max": 512}, "sequences": 1}),
    );
    wrong.spec.source.sha256 = Some("0".repeat(64));
    ctx.cluster.apply(&wrong).await?;
    let mismatch = |model: Option<&hearth_api::ServedModel>| {
        model
            .and_then(|model| condition(model, "Ready"))
            .is_some_and(|(_, reason, _)| reason == "DigestMismatch")
    };
    let models = ctx.cluster.models(NAMESPACE);
    let wrong = ctx.cluster.wait(models, "digest", Duration::from_secs(60), "refused", mismatch).await?;
    let wrong = wrong.context("the model is gone")?;
    let (_, _, message) = condition(&wrong, "Ready").context("the condition")?;
    ensure!(message.contains("sha256"), "the message does not say sha256: {message}");
    ensure!(ctx.gateway().await?.generate(prompt("chat", "Hello", 4)).await?.tokens == 4);
    Ok(())
}
