//! Requests that cannot be answered, through the real gateway and a real worker.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_proto::inference::v1::{
    Chat, ChatMessage, GenerateRequest, SamplingOptions, StopOptions, TokenIds, generate_request::Input,
};
use prost::Message;
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Ctx, GENERATE, Gateway, call, prompt, smollm2};

/// The status of a request that must fail before its first token.
async fn refusal(gateway: &Gateway, request: GenerateRequest) -> Result<Status> {
    match gateway.start(request, Duration::from_secs(20)).await {
        Err(status) => Ok(status),
        Ok(mut stream) => match stream.message().await {
            Err(status) => Ok(status),
            Ok(message) => anyhow::bail!("answered with {message:?}"),
        },
    }
}

/// Every wrong field is named, and the model goes on answering.
pub(super) async fn bad_requests_name_the_field(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let gateway = ctx.gateway().await?;
    let base = || prompt("chat", "Hello", 4);
    let sampling = |sampling| GenerateRequest { sampling: Some(sampling), ..base() };
    let input = |input| GenerateRequest { input: Some(input), ..base() };
    let cases = [
        ("prompt", input(Input::Prompt(String::new()))),
        ("prompt", input(Input::Prompt("word ".repeat(3000)))),
        ("chat.messages", input(Input::Chat(Chat::default()))),
        ("tokens.ids", input(Input::Tokens(TokenIds { ids: vec![u32::MAX] }))),
        (
            "sampling.temperature",
            sampling(SamplingOptions { temperature: Some(-1.0), ..SamplingOptions::default() }),
        ),
        (
            "sampling.temperature",
            sampling(SamplingOptions { temperature: Some(f32::NAN), ..SamplingOptions::default() }),
        ),
        ("sampling.top_p", sampling(SamplingOptions { top_p: Some(0.0), ..SamplingOptions::default() })),
        ("sampling.min_p", sampling(SamplingOptions { min_p: Some(1.5), ..SamplingOptions::default() })),
        (
            "stop.sequences",
            GenerateRequest {
                stop: Some(StopOptions { sequences: vec![String::new()], ..StopOptions::default() }),
                ..base()
            },
        ),
        ("input", GenerateRequest { input: None, ..base() }),
    ];
    for (field, request) in cases {
        let status = refusal(&gateway, request).await.context(field)?;
        ensure!(status.code() == Code::InvalidArgument, "{field}: refused with {status}");
        let details = status.get_details_bad_request().with_context(|| format!("{field}: no BadRequest"))?;
        let named = &details.field_violations.first().context("no violation")?.field;
        ensure!(named.contains(field), "the error names {named}, not {field}: {status}");
    }

    let unknown = refusal(&gateway, prompt("no-such-model", "Hello", 4)).await?;
    ensure!(unknown.code() == Code::NotFound, "unknown model: {unknown}");
    ensure!(unknown.message().contains("no-such-model"), "unknown model: {unknown}");

    let huge = refusal(&gateway, prompt("chat", &"x".repeat(10 << 20), 4)).await?;
    ensure!(huge.code() == Code::InvalidArgument, "10 MB message: {huge}");
    ensure!(huge.message().contains("larger than 4194304 bytes"), "10 MB message: {huge}");

    // Bytes that are not UTF-8, where the schema says string.
    let status = call(&gateway.grpc, GENERATE, &[], &invalid_utf8("chat")).await?;
    ensure!(status.code() == Code::InvalidArgument, "invalid UTF-8: {status}");
    ensure!(status.message().contains("valid UTF-8"), "invalid UTF-8: {status}");

    let chat = input(Input::Chat(Chat {
        messages: vec![ChatMessage {
            role: "user".into(),
            content: "Say hello.".into(),
            ..Default::default()
        }],
        ..Default::default()
    }));
    let answer = gateway.generate(chat).await?;
    ensure!(answer.tokens > 0, "nothing after the bad requests");
    Ok(())
}

/// The same through the OpenAI API: 400, and the field by OpenAI's name.
pub(super) async fn bad_openai_requests_name_the_field(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let (http, base) = (reqwest::Client::new(), ctx.gateway().await?.http);
    let hello = json!([{"role": "user", "content": "Hello"}]);
    let cases = [
        ("completions", json!({"prompt": ""}), "prompt"),
        ("completions", json!({"prompt": []}), "prompt"),
        ("completions", json!({}), "prompt"),
        ("completions", json!({"prompt": "word ".repeat(3000)}), "prompt"),
        ("chat/completions", json!({"messages": []}), "messages"),
        ("chat/completions", json!({}), "messages"),
        ("chat/completions", json!({"messages": [{"role": "user"}]}), "messages[0].content"),
        ("chat/completions", json!({"messages": hello, "temperature": -1}), "temperature"),
        ("chat/completions", json!({"messages": hello, "max_tokens": 0}), "max_tokens"),
    ];
    for (path, fields, param) in cases {
        for stream in [false, true] {
            let mut body = fields.clone();
            (body["model"], body["stream"]) = (json!("chat"), json!(stream));
            let response = http.post(format!("{base}/v1/{path}")).json(&body).send().await?;
            let status = response.status();
            let error = response.json::<serde_json::Value>().await?["error"].take();
            ensure!(status == 400, "{path} without a good {param}: {status} {error}");
            ensure!(error["param"] == param, "the error names {}, not {param}: {error}", error["param"]);
            ensure!(error["message"].as_str().is_some_and(|said| said.contains(param)), "{error}");
        }
    }
    let good = json!({"model": "chat", "messages": hello, "max_tokens": 2});
    let response = http.post(format!("{base}/v1/chat/completions")).json(&good).send().await?;
    ensure!(response.status() == 200, "after the bad requests: {}", response.status());
    Ok(())
}

/// More clients leave than there are sequences: the next one is answered all the same.
pub(super) async fn client_gone_frees_the_sequence(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let gateway = ctx.gateway().await?;
    for _ in 0..6 {
        let mut stream =
            gateway.start(prompt("chat", "Count: one, two,", 900), Duration::from_secs(60)).await?;
        stream.message().await?.context("no first message")?;
        drop(stream);
    }
    let answer = tokio::time::timeout(
        Duration::from_secs(10),
        gateway.generate(prompt("chat", "The capital of France is", 4)),
    );
    ensure!(answer.await.context("sequences are still held")??.tokens == 4);
    Ok(())
}

/// A `GenerateRequest` whose prompt no Rust `String` could hold.
fn invalid_utf8(model: &str) -> Vec<u8> {
    let mut message = prompt(model, "", 4).encode_to_vec();
    // Field 2, of two bytes. The last input of several counts.
    message.extend_from_slice(&[0x12, 2, 0xFF, 0xFE]);
    message
}
