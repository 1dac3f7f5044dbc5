//! A worker under test, and what it talks to.

pub(crate) mod server;
pub(crate) mod worker;

use std::path::PathBuf;

use hearth_model::testing::{TinyLlama, tiny_llama_gguf};
use hearth_proto::inference::v1::generate_request::Input;
use hearth_proto::inference::v1::generate_response::Event;
use hearth_proto::inference::v1::{Finish, GenerateRequest, GenerateResponse, SamplingOptions, StopOptions};
use hearth_proto::worker::v1::{Fence, KvType, ModelFile, Replica};
use hearth_source::Digest;
use tonic::{Status, Streaming};

/// A model small enough for a test: a few layers of noise, and the bytes as
/// its tokens.
pub(crate) fn tiny() -> Vec<u8> {
    tiny_llama_gguf(&TinyLlama { context_length: 4096, ..TinyLlama::new(7) })
}

/// The file that real answers come from.
pub(crate) fn smollm2() -> PathBuf {
    let path = std::env::var_os("HEARTH_TEST_MODEL").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        home.join(".cache/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    });
    assert!(
        path.exists(),
        "the test model {} is missing: run deploy/dev-cluster/models.sh, or set HEARTH_TEST_MODEL",
        path.display()
    );
    path
}

/// A replica of a file, on the device `sim`.
pub(crate) fn replica(id: &str, url: &str, bytes: &[u8]) -> Replica {
    Replica {
        id: id.into(),
        namespace: "default".into(),
        name: id.into(),
        served_name: id.into(),
        file: Some(ModelFile {
            url: url.into(),
            sha256: Digest::of(bytes).to_string(),
            size_bytes: bytes.len() as u64,
            bearer_token: String::new(),
            revision: "1".into(),
        }),
        device_uuid: "sim".into(),
        context_tokens: 2048,
        sequences: 2,
        kv_type: KvType::F16.into(),
        footprint: None,
        load_timeout: None,
    }
}

pub(crate) fn fence(epoch: u64, generation: u64) -> Option<Fence> {
    Some(Fence { epoch, generation })
}

/// A greedy generation that goes on for `max_tokens`.
pub(crate) fn request(model: &str, prompt: &str, max_tokens: u32) -> GenerateRequest {
    GenerateRequest {
        model: model.into(),
        input: Some(Input::Prompt(prompt.into())),
        sampling: Some(SamplingOptions { temperature: Some(0.0), ..Default::default() }),
        stop: Some(StopOptions {
            max_tokens: Some(max_tokens),
            ignore_eos: Some(true),
            ..Default::default()
        }),
        constraint: None,
        shortcuts: None,
    }
}

/// All of a stream: its text, and its one end.
pub(crate) async fn collect(mut stream: Streaming<GenerateResponse>) -> (String, Result<Finish, Status>) {
    let mut text = String::new();
    loop {
        match stream.message().await {
            Ok(Some(response)) => match response.event {
                Some(Event::Delta(delta)) => text.push_str(&delta.text),
                Some(Event::Finish(finish)) => {
                    let more = stream.message().await.expect("no status after finish");
                    assert_eq!(more, None, "nothing after finish");
                    return (text, Ok(finish));
                }
                other => panic!("unexpected event {other:?}"),
            },
            Ok(None) => panic!("the stream ended without a terminal event"),
            Err(status) => return (text, Err(status)),
        }
    }
}

/// Reads until the first piece of output.
pub(crate) async fn first_delta(stream: &mut Streaming<GenerateResponse>) {
    let response = stream.message().await.expect("a response").expect("not the end");
    assert!(matches!(response.event, Some(Event::Delta(_))), "{response:?}");
}
