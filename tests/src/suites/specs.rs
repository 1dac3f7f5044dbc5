//! Specs that cannot be served.

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::harness::{Ctx, NAMESPACE, condition, prompt, smollm2};

/// The API server refuses these, with a message that names the field.
pub(super) async fn rejected_by_the_api(ctx: &Ctx) -> Result<()> {
    let cases = [
        ("source: {uri: 'ftp://host/file.gguf'}", "source.uri"),
        ("source: {uri: 'hf://a/b'}\n  context: {min: 0}", "context.min"),
        ("source: {uri: 'hf://a/b'}\n  context: {min: 4096, max: 1024}", "context"),
        ("source: {uri: 'hf://a/b'}\n  replicas: -1", "replicas"),
        ("source: {uri: 'hf://a/b'}\n  quantization: Q99_X", "quantization"),
        ("source: {uri: 'hf://a/b', sha256: abc}", "sha256"),
        ("source: {uri: 'hf://a/b'}\n  priority: 101", "priority"),
        ("source: {uri: 'hf://a/b'}\n  idleAfter: soon", "idleAfter"),
        ("context: {min: 1024}", "source"),
    ];
    for (spec, field) in cases {
        let manifest = format!(
            "apiVersion: hearth.dev/v1alpha1\nkind: ServedModel\nmetadata: {{name: bad, namespace: {NAMESPACE}}}\nspec:\n  {spec}\n"
        );
        let output = ctx.cluster.kubectl_apply(&manifest).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "accepted: {spec}");
        ensure!(said.contains(field), "{spec}: the error does not name {field}: {said}");
    }
    Ok(())
}

/// What only the file can tell is said in a condition.
pub(super) async fn context_over_the_models_own(ctx: &Ctx) -> Result<()> {
    let mut model = smollm2(ctx, "long");
    model.spec.context = serde_json::from_value(json!({"min": 100_000, "max": 100_000}))?;
    ctx.cluster.apply(&model).await?;
    let model = ctx.wait_condition(&model, "Accepted", "False").await?;
    let (_, _, message) = condition(&model, "Accepted").context("the condition")?;
    for word in ["context.min", "100000", "8192"] {
        ensure!(message.replace(',', "").contains(word), "the message does not say {word}: {message}");
    }
    Ok(())
}

/// Two models of one name: the older serves, the other says so; when the older goes, it serves.
pub(super) async fn name_clash_oldest_wins(ctx: &Ctx) -> Result<()> {
    let mut first = smollm2(ctx, "first");
    first.spec.served_name = serde_json::from_value(json!("assistant"))?;
    ctx.apply_ready(&first).await?;
    let mut second = smollm2(ctx, "second");
    second.spec.served_name = serde_json::from_value(json!("assistant"))?;
    ctx.cluster.apply(&second).await?;
    let clashing = ctx.wait_condition(&second, "Accepted", "False").await?;
    let (_, reason, message) = condition(&clashing, "Accepted").context("the condition")?;
    ensure!(reason == "NameTaken", "the reason is {reason}");
    ensure!(message.contains("first"), "the message does not name the owner: {message}");
    ensure!(ctx.gateway().await?.generate(prompt("assistant", "Hello", 4)).await?.tokens == 4);

    ctx.cluster.models(NAMESPACE).delete("first", &kube::api::DeleteParams::default()).await?;
    ctx.wait_condition(&second, "Ready", "True").await?;
    ensure!(ctx.gateway().await?.generate(prompt("assistant", "Hello", 4)).await?.tokens == 4);
    Ok(())
}
