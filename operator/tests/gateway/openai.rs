//! The OpenAI API over HTTP.

use hearth_operator::gateway::routes::facts::Fault;
use hearth_proto::inference::v1::{FinishReason, GenerateRequest, StopOptions};
use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tonic::Status;

use crate::harness::{Harness, echoing, json as json_of, soon, text};

fn chat(content: &str) -> Value {
    json!({"model": "chat", "messages": [{"role": "user", "content": content}]})
}

fn with(mut body: Value, name: &str, value: Value) -> Value {
    body[name] = value;
    body
}

/// The events of a stream of server-sent events: data as JSON, comments and `[DONE]` as text.
fn events(body: &str) -> Vec<Value> {
    body.split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| match event.strip_prefix("data: ") {
            Some(data) => serde_json::from_str(data).unwrap_or_else(|_| json!(data)),
            None => json!(event),
        })
        .collect()
}

#[tokio::test]
async fn a_chat_completion() {
    let (harness, _worker) = echoing().await;
    let response = harness.post("/v1/chat/completions", &chat("Grüße 🦀")).await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-request-id"));
    let mut body = json_of(response).await;
    assert!(body["id"].take().as_str().unwrap().starts_with("chatcmpl-"));
    assert!(body["created"].take().as_i64().unwrap() > 1_700_000_000);
    assert_eq!(
        body,
        json!({
            "id": null, "created": null, "object": "chat.completion", "model": "chat",
            "choices": [{
                "index": 0, "finish_reason": "stop", "logprobs": null,
                "message": {"role": "assistant", "content": "Grüße 🦀"},
            }],
            "usage": {
                "prompt_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens": 2,
                "total_tokens": 4,
            },
        })
    );
}

#[tokio::test]
async fn a_text_completion_stops_at_its_limit() {
    let (harness, _worker) = echoing().await;
    let body = json!({"model": "chat", "prompt": "one two three", "max_tokens": 2});
    let body = json_of(harness.post("/v1/completions", &body).await).await;
    assert_eq!(
        body["choices"][0],
        json!({"index": 0, "text": "one two ", "logprobs": null, "finish_reason": "length"})
    );
    assert_eq!(body["object"], "text_completion");
}

#[tokio::test]
async fn a_streamed_chat_with_usage() {
    let (harness, _worker) = echoing().await;
    let body = with(
        with(chat("über 世界"), "stream", json!(true)),
        "stream_options",
        json!({"include_usage": true}),
    );
    let response = harness.post("/v1/chat/completions", &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = events(&text(response).await);
    let deltas: Vec<_> = events.iter().map(|event| event["choices"][0]["delta"].clone()).collect();
    assert_eq!(
        deltas[..4],
        [
            json!({"role": "assistant", "content": ""}),
            json!({"content": "über "}),
            json!({"content": "世界"}),
            json!({})
        ]
    );
    assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[4]["choices"], json!([]));
    assert_eq!(events[4]["usage"]["total_tokens"], 4);
    assert_eq!(events[5], "[DONE]");
    assert_eq!(events.len(), 6);
    let ids: std::collections::BTreeSet<_> =
        events[..5].iter().map(|event| event["id"].to_string()).collect();
    assert_eq!(ids.len(), 1);
}

#[tokio::test]
async fn a_streamed_text_completion() {
    let (harness, _worker) = echoing().await;
    let body = json!({"model": "chat", "prompt": "one two", "stream": true});
    let events = events(&text(harness.post("/v1/completions", &body).await).await);
    let texts: Vec<_> = events.iter().map(|event| event["choices"][0]["text"].clone()).collect();
    assert_eq!(texts, [json!("one "), json!("two"), json!(""), Value::Null]);
    assert_eq!(events[3], "[DONE]");
    assert!(events[0].get("usage").is_none());
}

#[tokio::test]
async fn parameters_reach_the_worker() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let body = json!({
        "model": "chat", "prompt": [1, 2], "temperature": 0, "top_k": 5, "seed": 7, "max_tokens": 9,
        "stop": "\n", "user": "someone", "anything": {"at": "all"},
    });
    let (response, _) = tokio::join!(harness.post("/v1/completions", &body), async {
        let call = worker.call().await;
        let GenerateRequest { sampling, stop, .. } = call.request.clone();
        let sampling = sampling.unwrap();
        assert_eq!((sampling.temperature, sampling.top_k, sampling.seed), (Some(0.0), Some(5), Some(7)));
        assert_eq!(
            stop.unwrap(),
            StopOptions { max_tokens: Some(9), sequences: vec!["\n".into()], ..StopOptions::default() }
        );
        call.accept().finish(FinishReason::Stop, 2, 0).await;
    });
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_stream_that_waits_says_so_in_comments() {
    let harness = Harness::start().await;
    harness.loading("chat", "the model is being loaded on box, 50 %", 1, 2).await;
    let mut response = harness.post("/v1/chat/completions", &with(chat("hi"), "stream", json!(true))).await;
    assert_eq!(response.status(), 200);
    let first = soon(response.body_mut().frame()).await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(&first[..], b": waiting: the model is being loaded on box, 50 %, about 30 s left\n\n");
    let _worker = harness.worker("box", &["chat"]).await.echo();
    harness.model("chat", &["box"]).await;
    let rest = text(response).await;
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
}

#[tokio::test]
async fn a_client_that_hangs_up_frees_the_replica() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    for stream in [true, false] {
        let body = with(chat("hi"), "stream", json!(stream));
        let request = harness.post("/v1/chat/completions", &body);
        let answer = if stream {
            let (response, answer) = tokio::join!(request, async {
                let answer = worker.call().await.accept();
                answer.delta("one").await;
                answer
            });
            drop(response);
            answer
        } else {
            let mut request = Box::pin(request);
            let call = tokio::select! {
                _ = &mut request => panic!("nothing was answered yet"),
                call = worker.call() => call,
            };
            drop(request);
            call.accept()
        };
        answer.gone().await;
        harness.until_counted(0, 0).await;
    }
}

#[tokio::test]
async fn death_in_the_middle_of_a_stream() {
    let harness = Harness::start().await;
    let mut worker = harness.worker("box", &["chat"]).await;
    harness.model("chat", &["box"]).await;
    let body = with(chat("hi"), "stream", json!(true));
    let (response, ()) = tokio::join!(harness.post("/v1/chat/completions", &body), async {
        let answer = worker.call().await.accept();
        answer.delta("half").await;
        answer.fail(Status::unavailable("the worker stops")).await;
    });
    let events = events(&text(response).await);
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "half");
    assert_eq!(
        events[2]["error"]["message"],
        "worker \"box\" stopped in the middle of the answer: the worker stops"
    );
    assert_eq!(events.len(), 3, "no [DONE]");
}

#[tokio::test]
async fn errors_have_their_status_and_openais_shape() {
    let (harness, _worker) = echoing().await;
    harness.failed("broken", Fault::Rejected("spec.replicas: -1".into())).await;
    harness.failed("homeless", Fault::Unplaceable("needs 9 GiB".into())).await;
    let post = async |body: Value| harness.post("/v1/chat/completions", &body).await;
    for (body, status, param, code) in [
        (with(chat("hi"), "model", json!("gpt")), 404, json!("model"), json!("model_not_found")),
        (with(chat("hi"), "n", json!(17)), 400, json!("n"), Value::Null),
        (with(chat("hi"), "tools", json!([{}])), 400, json!("tools[0].type"), json!("unsupported_parameter")),
        (with(chat("hi"), "temperature", json!(3)), 400, json!("temperature"), Value::Null),
        (with(chat("hi"), "stop", json!([""])), 400, json!("stop[0]"), Value::Null),
        (with(chat("hi"), "messages", json!([])), 400, json!("messages"), Value::Null),
        (with(chat("hi"), "model", json!("broken")), 503, Value::Null, json!("model_not_servable")),
        (with(chat("hi"), "model", json!("homeless")), 503, Value::Null, json!("unavailable")),
    ] {
        for stream in [false, true] {
            let response = post(with(body.clone(), "stream", json!(stream))).await;
            assert_eq!(response.status(), status, "{body}");
            assert_eq!(response.headers()["content-type"], "application/json");
            let error = json_of(response).await["error"].take();
            assert_eq!((&error["param"], &error["code"]), (&param, &code), "{body}");
            assert!(!error["message"].as_str().unwrap().is_empty());
            assert!(error["type"].is_string());
        }
    }
    let response = post(with(chat("hi"), "model", json!("homeless"))).await;
    assert_eq!(response.headers()["retry-after"], "30");
    let response = post(with(chat("hi"), "model", json!("broken"))).await;
    assert_eq!(response.headers()["x-should-retry"], "false");
}

#[tokio::test]
async fn a_full_queue_is_429() {
    let harness = Harness::start().await;
    harness.loading("chat", "loading", 0, 0).await;
    let mut held = vec![];
    for i in 1..=3 {
        held.push(harness.generate("chat").await);
        harness.until_counted(i, 0).await;
    }
    let response = harness.post("/v1/chat/completions", &chat("hi")).await;
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "2");
    assert_eq!(json_of(response).await["error"]["code"], "rate_limit_exceeded");
}

#[tokio::test]
async fn a_body_that_is_no_request() {
    let (harness, _worker) = echoing().await;
    for body in ["", "{", "[]", "\"text\""] {
        let response = harness.http(Method::POST, "/v1/chat/completions", body, &[]).await;
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(json_of(response).await["error"]["type"], "invalid_request_error");
    }
    let large = chat(&"x".repeat(5 * 1024 * 1024)).to_string();
    let response = harness.http(Method::POST, "/v1/chat/completions", large, &[]).await;
    assert_eq!(response.status(), 413);
    assert_eq!(json_of(response).await["error"]["code"], "request_too_large");
    let response = harness.get("/v1/chat/completions").await;
    assert_eq!(response.status(), 405);
    assert_eq!(json_of(response).await["error"]["code"], "method_not_allowed");
    assert_eq!(json_of(harness.get("/v2").await).await["error"]["code"], "unknown_url");
}

#[tokio::test]
async fn models_are_listed_and_shown() {
    let (harness, _worker) = echoing().await;
    harness.loading("team/coder", "loading", 0, 0).await;
    let list = json_of(harness.get("/v1/models").await).await;
    let models: Vec<_> = list["data"].as_array().unwrap().iter().map(|m| (&m["id"], &m["state"])).collect();
    assert_eq!(models, [(&json!("chat"), &json!("ready")), (&json!("team/coder"), &json!("loading"))]);
    let model = json_of(harness.get("/v1/models/team/coder").await).await;
    assert_eq!((&model["object"], &model["max_model_len"]), (&json!("model"), &json!(4096)));
    assert_eq!(model["created"], 1_700_000_000);
    let response = harness.get("/v1/models/gpt").await;
    assert_eq!(response.status(), 404);
    assert_eq!(json_of(response).await["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_a_word() {
    let harness = Harness::start().await;
    let id = async |sent: &str| {
        let response = harness.http(Method::GET, "/healthz", "", &[("x-request-id", sent)]).await;
        response.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("abc-123").await, "abc-123");
    assert_ne!(id("two words").await, "two words");
    assert_eq!(id(&"x".repeat(500)).await.len(), 36);
}
