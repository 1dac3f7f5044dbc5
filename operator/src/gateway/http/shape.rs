//! Answers as OpenAI's API shapes them.

use hearth_proto::inference::v1::{Finish, FinishReason, Model, ModelState, Usage};
use serde_json::{Value, json};

/// Which of the two endpoints answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Completion,
}

/// What all parts of one answer have in common.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) endpoint: Endpoint,
    /// Unique, without the prefix.
    pub(super) id: String,
    /// Seconds since 1970.
    pub(super) created: i64,
    pub(super) model: String,
    /// Chunks hold a `usage`, null except in the last.
    pub(super) include_usage: bool,
}

impl Answer {
    /// The answer that is not streamed.
    pub(super) fn whole(&self, text: &str, finish: &Finish) -> Value {
        let reason = reason(finish);
        let (object, choice) = match self.endpoint {
            Endpoint::Chat => (
                "chat.completion",
                json!({
                    "index": 0,
                    "message": {"role": "assistant", "content": text},
                    "logprobs": null,
                    "finish_reason": reason,
                }),
            ),
            Endpoint::Completion => (
                "text_completion",
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason}),
            ),
        };
        let mut body = self.body(object, json!([choice]));
        body["usage"] = usage(finish.usage.as_ref());
        body
    }

    /// The chunk that opens a stream; only chats have one.
    pub(super) fn opening(&self) -> Option<Value> {
        match self.endpoint {
            Endpoint::Chat => Some(self.chunk(&json!({"role": "assistant", "content": ""}), None)),
            Endpoint::Completion => None,
        }
    }

    /// A chunk with a piece of text.
    pub(super) fn piece(&self, text: &str) -> Value {
        match self.endpoint {
            Endpoint::Chat => self.chunk(&json!({"content": text}), None),
            Endpoint::Completion => self.chunk(&json!(text), None),
        }
    }

    /// The chunk with the finish reason.
    pub(super) fn closing(&self, finish: &Finish) -> Value {
        let nothing = match self.endpoint {
            Endpoint::Chat => json!({}),
            Endpoint::Completion => json!(""),
        };
        self.chunk(&nothing, Some(reason(finish)))
    }

    /// The chunk with the usage, if it was asked for.
    pub(super) fn usage(&self, finish: &Finish) -> Option<Value> {
        self.include_usage.then(|| {
            let mut body = self.body(self.chunk_object(), json!([]));
            body["usage"] = usage(finish.usage.as_ref());
            body
        })
    }

    fn chunk(&self, content: &Value, reason: Option<&str>) -> Value {
        let name = match self.endpoint {
            Endpoint::Chat => "delta",
            Endpoint::Completion => "text",
        };
        let choice = json!({"index": 0, name: content, "logprobs": null, "finish_reason": reason});
        let mut body = self.body(self.chunk_object(), json!([choice]));
        if self.include_usage {
            body["usage"] = Value::Null;
        }
        body
    }

    fn chunk_object(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Chat => "chat.completion.chunk",
            Endpoint::Completion => "text_completion",
        }
    }

    fn body(&self, object: &str, choices: Value) -> Value {
        let prefix = match self.endpoint {
            Endpoint::Chat => "chatcmpl",
            Endpoint::Completion => "cmpl",
        };
        json!({
            "id": format!("{prefix}-{}", self.id),
            "object": object,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        })
    }
}

fn reason(finish: &Finish) -> &'static str {
    match finish.reason() {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Unspecified => "stop",
    }
}

fn usage(usage: Option<&Usage>) -> Value {
    let Usage { prompt_tokens, completion_tokens } = usage.copied().unwrap_or_default();
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": u64::from(prompt_tokens) + u64::from(completion_tokens),
    })
}

/// A model of `GET /v1/models`, with three fields that OpenAI has not.
pub(super) fn model(model: &Model, now: jiff::Timestamp) -> Value {
    let state = match model.state() {
        ModelState::Ready => "ready",
        ModelState::Loading => "loading",
        ModelState::Failed => "failed",
        ModelState::Pending | ModelState::Unspecified => "pending",
    };
    let age = model.age.as_ref().map_or(0, |age| age.seconds);
    json!({
        "id": model.name,
        "object": "model",
        "created": now.as_second() - age,
        "owned_by": "hearth",
        "state": state,
        "max_model_len": (model.context_tokens > 0).then_some(model.context_tokens),
        "quantization": (!model.quantization.is_empty()).then_some(&model.quantization),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(endpoint: Endpoint, include_usage: bool) -> Answer {
        Answer { endpoint, id: "1".into(), created: 7, model: "m".into(), include_usage }
    }

    fn finish() -> Finish {
        Finish {
            reason: FinishReason::Length.into(),
            usage: Some(Usage { prompt_tokens: 2, completion_tokens: 3 }),
            stop_sequence: None,
        }
    }

    #[test]
    fn whole_answers() {
        insta::assert_json_snapshot!([
            answer(Endpoint::Chat, false).whole("hi", &finish()),
            answer(Endpoint::Completion, false).whole("hi", &finish()),
        ]);
    }

    #[test]
    fn chunks() {
        let all = |answer: Answer| {
            let opening = answer.opening();
            opening
                .into_iter()
                .chain([answer.piece("hi"), answer.closing(&finish())])
                .chain(answer.usage(&finish()))
                .collect::<Vec<_>>()
        };
        insta::assert_json_snapshot!([
            all(answer(Endpoint::Chat, true)),
            all(answer(Endpoint::Completion, false)),
        ]);
    }
}
