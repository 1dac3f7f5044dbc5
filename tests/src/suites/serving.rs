//! From `kubectl apply` to tokens.

use anyhow::{Context, Result, ensure};
use hearth_proto::inference::v1::{FinishReason, ListModelsRequest, ModelState};
use serde_json::json;
use tonic::Code;

use crate::harness::{Ctx, NAMESPACE, SYSTEM_NAMESPACE, condition, prompt, smollm2};

/// The whole way, on a worker Pod that holds its GPUs through the device plugin.
pub(super) async fn apply_ready_generate(ctx: &Ctx) -> Result<()> {
    let model = ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let status = model.status.as_ref().context("a status")?;
    let footprint = status.footprint.as_ref().context("a footprint")?;
    ensure!(footprint.weights > 0 && footprint.kv > 0, "footprint without parts: {footprint:?}");
    let replica = status.replicas.first().context("a replica")?;

    let pods = ctx.cluster.pods(SYSTEM_NAMESPACE);
    let worker = ctx.cluster.workers().get(&replica.worker).await?;
    let pod_name = worker.status.and_then(|status| status.pod_name).context("the Worker's podName")?;
    let pod = pods.get(&pod_name).await?.spec.context("the Pod's spec")?;
    let gpus = pod.containers[0]
        .resources
        .as_ref()
        .and_then(|resources| resources.limits.as_ref()?.get("nvidia.com/gpu"))
        .context("the worker Pod asks for no nvidia.com/gpu")?;
    ensure!(gpus.0.parse::<u32>()? >= 1, "the worker Pod asks for {} GPUs", gpus.0);

    let gateway = ctx.gateway().await?;
    let answer = gateway.generate(prompt("chat", "The capital of France is", 16)).await?;
    ensure!(answer.text.contains("Paris"), "the model said {:?}", answer.text);
    ensure!(answer.tokens == 16, "{} tokens, not 16", answer.tokens);
    ensure!(answer.deltas > 4, "the answer came in {} pieces: not streamed", answer.deltas);
    ensure!(answer.finish.reason() == FinishReason::Length, "finish: {:?}", answer.finish);

    let listed = gateway.client().list_models(ListModelsRequest {}).await?.into_inner().models;
    let listed = listed.iter().find(|model| model.name == "chat").context("the model is not listed")?;
    ensure!(listed.state() == ModelState::Ready, "listed as {listed:?}");

    let table = ctx.cluster.kubectl(&["-n", NAMESPACE, "get", "sm", "chat"]).await?;
    for word in ["MODEL", "QUANT", "CONTEXT", "REPLICAS", "WORKER", "MEMORY", "STATE", "AGE", "Q4_1", "Ready"]
    {
        ensure!(table.contains(word), "kubectl get sm does not say {word}:\n{table}");
    }
    let table = ctx.cluster.kubectl(&["get", "workers"]).await?;
    for word in ["KIND", "DEVICE", "MEMORY", "FREE", "MODELS", "STATE", "AGE"] {
        ensure!(table.contains(word), "kubectl get workers does not say {word}:\n{table}");
    }
    Ok(())
}

/// A request for a model that is not loaded yet waits, says so, and is answered.
pub(super) async fn request_waits_while_loading(ctx: &Ctx) -> Result<()> {
    let model = smollm2(ctx, "soon");
    ctx.cluster.apply(&model).await?;
    ctx.wait_condition(&model, "Accepted", "True").await?;
    let answer = ctx.gateway().await?.generate(prompt("soon", "The capital of France is", 4)).await?;
    ensure!(answer.tokens == 4, "{} tokens", answer.tokens);
    ensure!(answer.waits > 0, "no word while it waited");
    Ok(())
}

/// The OpenAI API through the same Service, whole and as server-sent events.
pub(super) async fn openai_answers(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let http = reqwest::Client::new();
    let base = ctx.gateway().await?.http;

    let models: serde_json::Value = http.get(format!("{base}/v1/models")).send().await?.json().await?;
    ensure!(models["data"][0]["id"] == "chat", "listed: {models}");

    let request = json!({
        "model": "chat", "temperature": 0, "max_tokens": 12,
        "messages": [{"role": "user", "content": "What is the capital of France? Answer with one word."}],
    });
    let url = format!("{base}/v1/chat/completions");
    let whole: serde_json::Value = http.post(&url).json(&request).send().await?.json().await?;
    let text = whole["choices"][0]["message"]["content"].as_str().context("no content")?.to_owned();
    ensure!(text.contains("Paris"), "the model said {text:?}");
    ensure!(whole["usage"]["completion_tokens"].as_u64().is_some_and(|n| n <= 12 && n > 0), "usage: {whole}");

    let mut streamed = request.clone();
    streamed["stream"] = json!(true);
    let body = http.post(&url).json(&streamed).send().await?.text().await?;
    ensure!(body.trim_end().ends_with("data: [DONE]"), "the stream ends with {body:?}");
    let pieces: String = body
        .lines()
        .filter_map(|line| line.strip_prefix("data: ").filter(|data| *data != "[DONE]"))
        .filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok())
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned))
        .collect();
    ensure!(pieces == text, "streamed {pieces:?}, whole {text:?}");
    Ok(())
}

/// A model that no machine can hold waits, and says part by part what it needs and what there is.
pub(super) async fn fits_nowhere_says_why(ctx: &Ctx) -> Result<()> {
    let mut model = smollm2(ctx, "huge");
    model.spec.context = serde_json::from_value(json!({"min": 8192, "max": 8192}))?;
    model.spec.sequences = serde_json::from_value(json!(256))?;
    ctx.cluster.apply(&model).await?;
    let model = ctx.wait_condition(&model, "Placed", "False").await?;
    let status = model.status.as_ref().context("a status")?;
    ensure!(!status.rejected.is_empty() && status.rejected.len() <= 8, "rejected: {:?}", status.rejected);
    let text = ctx.cluster.kubectl(&["-n", NAMESPACE, "describe", "sm", "huge"]).await?;
    for word in ["needs", "weights", "KV", "activations", "overhead", "free", "GiB"] {
        ensure!(text.contains(word), "kubectl describe does not say {word:?}:\n{text}");
    }
    Ok(())
}

/// An edited spec is planned anew and served.
pub(super) async fn edit_takes_effect(ctx: &Ctx) -> Result<()> {
    let mut model = smollm2(ctx, "chat");
    let before = ctx.apply_ready(&model).await?;
    model.spec.context = serde_json::from_value(json!({"min": 2048, "max": 2048}))?;
    let after = ctx.apply_ready(&model).await?;
    let context =
        |model: &hearth_api::ServedModel| model.status.as_ref()?.resolved.as_ref().map(|r| r.context);
    ensure!(context(&before) != context(&after), "the context stayed {:?}", context(&after));
    ensure!(condition(&after, "Ready").is_some_and(|(status, ..)| status == "True"));
    let answer = ctx.gateway().await?.generate(prompt("chat", "One, two, three,", 8)).await?;
    ensure!(answer.tokens == 8, "{} tokens", answer.tokens);
    Ok(())
}

/// A deleted model is unloaded, and its name is unknown at once.
pub(super) async fn delete_unloads(ctx: &Ctx) -> Result<()> {
    let model = ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let worker = model.status.context("a status")?.replicas.first().context("a replica")?.worker.clone();
    ctx.cluster.remove_all_models().await?;
    ctx.cluster
        .wait(
            ctx.cluster.workers(),
            &worker,
            std::time::Duration::from_secs(30),
            "without models",
            |worker| {
                worker.and_then(|worker| worker.status.as_ref()).is_some_and(|status| status.models == 0)
            },
        )
        .await?;
    let gateway = ctx.gateway().await?;
    let refused = gateway.start(prompt("chat", "Hello", 4), std::time::Duration::from_secs(10)).await;
    let status = refused.err().context("a deleted model answered")?;
    ensure!(status.code() == Code::NotFound, "refused with {status}");
    Ok(())
}
