//! Requests that cannot be answered, through the real gateway and a real worker.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_proto::inference::v1::{
    Chat, ChatMessage, GenerateRequest, GenerateResponse, SamplingOptions, StopOptions, TokenIds,
    generate_request::Input, generate_response::Event,
};
use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::harness::{Ctx, Gateway, prompt, served_model, smollm2};

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
    ensure!(
        matches!(huge.code(), Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument),
        "10 MB message: {huge}"
    );

    // Bytes that are not UTF-8, where the schema says string.
    let mut codec = tonic_types_raw::invalid_utf8("chat");
    let status = tonic_types_raw::send(&gateway, &mut codec).await;
    ensure!(
        matches!(status.code(), Code::InvalidArgument | Code::Internal) && !status.message().is_empty(),
        "invalid UTF-8: {status}"
    );

    let chat = input(Input::Chat(Chat {
        messages: vec![ChatMessage { role: "user".into(), content: "Say hello.".into() }],
        add_generation_prompt: None,
    }));
    let answer = gateway.generate(chat).await?;
    ensure!(answer.tokens > 0, "nothing after the bad requests");
    Ok(())
}

/// A request for a model that is being fetched sees how far that is, and ends at its deadline.
pub(super) async fn deadline_while_loading(ctx: &Ctx) -> Result<()> {
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

/// Sends a message whose bytes no Rust `String` could hold.
mod tonic_types_raw {
    use std::str::FromStr;

    use http_body_util::{BodyExt, Full};
    use tonic::{Code, Status};

    use crate::harness::Gateway;

    /// A `GenerateRequest` with a prompt of 0xFF bytes, as a gRPC frame.
    pub(super) fn invalid_utf8(model: &str) -> Vec<u8> {
        let mut message = vec![0x0A, model.len() as u8];
        message.extend_from_slice(model.as_bytes());
        message.extend_from_slice(&[0x12, 2, 0xFF, 0xFE]);
        let mut frame = vec![0];
        frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
        frame.extend_from_slice(&message);
        frame
    }

    /// The status that the gateway answers.
    pub(super) async fn send(gateway: &Gateway, frame: &mut Vec<u8>) -> Status {
        match try_send(gateway, std::mem::take(frame)).await {
            Ok(status) => status,
            Err(error) => Status::unknown(error.to_string()),
        }
    }

    async fn try_send(gateway: &Gateway, frame: Vec<u8>) -> anyhow::Result<Status> {
        use tonic::client::GrpcService;
        let mut channel = gateway.channel.clone();
        std::future::poll_fn(|cx| GrpcService::<tonic::body::Body>::poll_ready(&mut channel, cx)).await?;
        let request = http::Request::post("/hearth.inference.v1.InferenceService/Generate")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(Full::from(frame).map_err(|never| match never {})))?;
        let response = GrpcService::<tonic::body::Body>::call(&mut channel, request).await?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Ok(status);
        }
        let collected = response.into_body().collect().await?;
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let code = trailers.get("grpc-status").and_then(|value| i32::from_str(value.to_str().ok()?).ok());
        Ok(Status::from_header_map(&trailers)
            .unwrap_or_else(|| Status::new(Code::from_i32(code.unwrap_or(2)), "no status")))
    }
}
