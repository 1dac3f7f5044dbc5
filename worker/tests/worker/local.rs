//! Real arithmetic: the reference engine, through the worker and without it.

use hearth_proto::inference::v1::generate_request::Input;
use hearth_proto::inference::v1::{Chat, ChatMessage, GenerateRequest};
use hearth_proto::worker::v1::Replica;
use tokio::process::Command;

use crate::support::server::FileServer;
use crate::support::worker::{Options, StateDir, Worker};
use crate::support::{collect, replica, request, smollm2, tiny};

#[tokio::test]
async fn the_reference_engine_answers_from_a_tiny_model() {
    let (dir, files) = (StateDir::new(), FileServer::start(tiny()).await);
    let worker = Worker::start(dir.path(), Options::cpu()).await;
    let told = worker.until("told", |_| true).await;
    assert_eq!(told.devices.len(), 1);
    assert!(told.devices[0].total_bytes > 0);
    let chat = Replica {
        device_uuid: told.devices[0].uuid.clone(),
        context_tokens: 256,
        ..replica("chat", &files.url(), files.bytes())
    };
    worker.apply(1, vec![chat]).await.unwrap();
    worker.until_ready("chat").await;
    let answer = || async {
        let stream = worker.inference().generate(request("chat", "once upon", 16)).await.unwrap();
        collect(stream.into_inner()).await
    };
    let (first, end) = answer().await;
    assert_eq!(end.unwrap().usage.unwrap().completion_tokens, 16);
    assert_eq!(answer().await.0, first, "greedy is the same each time");
}

#[tokio::test]
async fn smollm2_answers_a_question() {
    let model = smollm2();
    let dir = StateDir::new();
    let claims = model.parent().unwrap().parent().unwrap().to_str().unwrap().to_owned();
    let claim = model.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let file = model.file_name().unwrap().to_str().unwrap();
    let worker = Worker::start(dir.path(), Options::cpu().with(&["--claims-dir", &claims])).await;
    let mut chat = Replica {
        device_uuid: "cpu".into(),
        context_tokens: 512,
        sequences: 1,
        ..replica("smollm2", &format!("pvc://{claim}/{file}"), b"")
    };
    let spec = chat.file.as_mut().unwrap();
    spec.sha256.clear();
    spec.size_bytes = std::fs::metadata(&model).unwrap().len();
    worker.apply(1, vec![chat]).await.unwrap();
    let status = worker.until_ready("smollm2").await;
    assert!(status.measured.unwrap().weights > 0);
    assert_eq!(status.sha256.len(), 64);
    let message = ChatMessage {
        role: "user".into(),
        content: "What is the capital of France? One word.".into(),
        ..Default::default()
    };
    let input = Input::Chat(Chat { messages: vec![message], ..Default::default() });
    let request = GenerateRequest { input: Some(input), ..request("smollm2", "", 16) };
    let stream = worker.inference().generate(request).await.unwrap();
    let (text, end) = collect(stream.into_inner()).await;
    end.unwrap();
    assert!(text.contains("Paris"), "{text:?}");
}

#[tokio::test]
async fn generate_answers_without_a_server() {
    let dir = StateDir::new();
    let model = dir.join("tiny.gguf");
    std::fs::write(&model, tiny()).unwrap();
    let run = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-worker"));
        command.args(["generate", "--context", "256"]).args(arguments).output().await.unwrap()
    };
    let path = model.to_str().unwrap();
    let good = run(&["--model", path, "--prompt", "once upon", "--max-tokens", "8"]).await;
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert!(good.stdout.len() > 1);
    let missing = run(&["--model", "/nowhere.gguf", "--prompt", "x"]).await;
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.contains("/nowhere.gguf"), "{said}");
    let wrong = run(&["--model", path, "--prompt", "x", "--temperature", "9"]).await;
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.contains("sampling.temperature"), "{said}");
}
