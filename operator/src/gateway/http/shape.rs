//! Answers as OpenAI's API shapes them.

use hearth_proto::inference::v1::{Finish, FinishReason, Model, ModelState, TokenLogprobs, Usage};
use serde_json::{Value, json};

use super::{
    calls::{Call, Scanner, Seen},
    logprobs,
    parse::Tools,
};

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

/// One of the answers that were asked for, to its end.
#[derive(Clone, Debug, Default)]
pub(super) struct Choice {
    pub(super) text: String,
    pub(super) calls: Vec<Call>,
    pub(super) logprobs: Vec<TokenLogprobs>,
    pub(super) finish: Finish,
}

impl Choice {
    /// Tells calls from text, once it is whole.
    pub(super) fn find_calls(&mut self, tools: &Tools) {
        if tools.names.is_empty() {
            return;
        }
        let mut scanner = Scanner::new(tools.clone());
        let mut seen = scanner.push(&std::mem::take(&mut self.text));
        seen.extend(scanner.finish());
        for seen in seen {
            match seen {
                Seen::Text(text) => self.text.push_str(&text),
                Seen::Call(call) => self.calls.push(call),
            }
        }
    }
}

impl Answer {
    /// The answer that is not streamed.
    pub(super) fn whole(&self, choices: &[Choice]) -> Value {
        let object = match self.endpoint {
            Endpoint::Chat => "chat.completion",
            Endpoint::Completion => "text_completion",
        };
        let choice = |(index, choice): (usize, &Choice)| {
            let Choice { text, calls, logprobs, finish } = choice;
            let logprobs = self.logprobs(logprobs, 0);
            let reason = reason(finish, !calls.is_empty());
            match self.endpoint {
                Endpoint::Chat => json!({
                    "index": index,
                    "message": message(text, calls),
                    "logprobs": logprobs,
                    "finish_reason": reason,
                }),
                Endpoint::Completion => {
                    json!({"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason})
                }
            }
        };
        let mut body = self.body(object, choices.iter().enumerate().map(choice).collect());
        body["usage"] = usage(&total(choices.iter().map(|choice| &choice.finish)));
        body
    }

    /// The chunk that opens a choice of a stream; only chats have one.
    pub(super) fn opening(&self, index: u32) -> Option<Value> {
        match self.endpoint {
            Endpoint::Chat => {
                let opening = json!({"role": "assistant", "content": ""});
                Some(self.chunk(index, &opening, &Value::Null, None))
            }
            Endpoint::Completion => None,
        }
    }

    /// A chunk with a piece of text; the text before it has `offset` characters.
    pub(super) fn piece(&self, index: u32, text: &str, logprobs: &[TokenLogprobs], offset: usize) -> Value {
        let logprobs = self.logprobs(logprobs, offset);
        match self.endpoint {
            Endpoint::Chat => self.chunk(index, &json!({"content": text}), &logprobs, None),
            Endpoint::Completion => self.chunk(index, &json!(text), &logprobs, None),
        }
    }

    /// A chunk with a call, the `nth` of its choice.
    pub(super) fn call(&self, index: u32, nth: usize, call: &Call) -> Value {
        let mut call = call.shape();
        call["index"] = json!(nth);
        self.chunk(index, &json!({"tool_calls": [call]}), &Value::Null, None)
    }

    /// The chunk with the finish reason of a choice, in which there were calls or not.
    pub(super) fn closing(&self, index: u32, finish: &Finish, called: bool) -> Value {
        let nothing = match self.endpoint {
            Endpoint::Chat => json!({}),
            Endpoint::Completion => json!(""),
        };
        self.chunk(index, &nothing, &Value::Null, Some(reason(finish, called)))
    }

    /// The chunk with the usage, if it was asked for.
    pub(super) fn usage(&self, finishes: &[Finish]) -> Option<Value> {
        self.include_usage.then(|| {
            let mut body = self.body(self.chunk_object(), json!([]));
            body["usage"] = usage(&total(finishes));
            body
        })
    }

    fn chunk(&self, index: u32, content: &Value, logprobs: &Value, reason: Option<&str>) -> Value {
        let name = match self.endpoint {
            Endpoint::Chat => "delta",
            Endpoint::Completion => "text",
        };
        let choice = json!({"index": index, name: content, "logprobs": logprobs, "finish_reason": reason});
        let mut body = self.body(self.chunk_object(), json!([choice]));
        if self.include_usage {
            body["usage"] = Value::Null;
        }
        body
    }

    fn logprobs(&self, logprobs: &[TokenLogprobs], offset: usize) -> Value {
        match self.endpoint {
            _ if logprobs.is_empty() => Value::Null,
            Endpoint::Chat => logprobs::chat(logprobs),
            Endpoint::Completion => logprobs::completion(logprobs, offset),
        }
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

/// What an assistant said.
fn message(text: &str, calls: &[Call]) -> Value {
    if calls.is_empty() {
        return json!({"role": "assistant", "content": text});
    }
    let content = if text.is_empty() { Value::Null } else { json!(text) };
    let calls = calls.iter().map(Call::shape).collect::<Vec<_>>();
    json!({"role": "assistant", "content": content, "tool_calls": calls})
}

fn reason(finish: &Finish, called: bool) -> &'static str {
    match finish.reason() {
        FinishReason::Length => "length",
        FinishReason::Stop | FinishReason::Unspecified if called => "tool_calls",
        FinishReason::Stop | FinishReason::Unspecified => "stop",
    }
}

/// What all choices cost: their prompt is the same, and counts once.
fn total<'a>(finishes: impl IntoIterator<Item = &'a Finish>) -> Usage {
    let usages = finishes.into_iter().map(|finish| finish.usage.unwrap_or_default());
    let total = usages.reduce(|total, usage| Usage {
        prompt_tokens: total.prompt_tokens.max(usage.prompt_tokens),
        completion_tokens: total.completion_tokens.saturating_add(usage.completion_tokens),
        // The choice that read the prompt found the least of it.
        cached_tokens: total.cached_tokens.min(usage.cached_tokens),
    });
    total.unwrap_or_default()
}

fn usage(Usage { prompt_tokens, completion_tokens, cached_tokens }: &Usage) -> Value {
    json!({
        "prompt_tokens": prompt_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
        "completion_tokens": completion_tokens,
        "total_tokens": u64::from(*prompt_tokens) + u64::from(*completion_tokens),
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

    fn choice(text: &str) -> Choice {
        Choice { text: text.into(), finish: finish(), ..Choice::default() }
    }

    fn finish() -> Finish {
        Finish {
            reason: FinishReason::Length.into(),
            usage: Some(Usage { prompt_tokens: 2, completion_tokens: 3, cached_tokens: 1 }),
            stop_sequence: None,
        }
    }

    #[test]
    fn whole_answers() {
        insta::assert_json_snapshot!([
            answer(Endpoint::Chat, false).whole(&[choice("hi")]),
            answer(Endpoint::Completion, false).whole(&[choice("hi")]),
        ]);
    }

    #[test]
    fn a_call_is_no_text() {
        let call = || Call { name: "add".into(), arguments: "{}".into() };
        let finish = Finish { reason: FinishReason::Stop.into(), ..finish() };
        let called = Choice { calls: vec![call()], finish: finish.clone(), ..Choice::default() };
        let answer = answer(Endpoint::Chat, false);
        let mut body = answer.whole(&[called]);
        let choice = &mut body["choices"][0];
        let mut id = choice["message"]["tool_calls"][0]["id"].take();
        assert!(id.as_str().unwrap().starts_with("call_"));
        let function = json!({"name": "add", "arguments": "{}"});
        let tool_calls = json!([{"id": null, "type": "function", "function": function}]);
        assert_eq!(
            choice["message"],
            json!({"role": "assistant", "content": null, "tool_calls": tool_calls})
        );
        assert_eq!(choice["finish_reason"], "tool_calls");
        let mut chunk = answer.call(0, 2, &call());
        id = chunk["choices"][0]["delta"]["tool_calls"][0].take();
        assert_eq!((&id["index"], &id["function"]), (&json!(2), &function));
        assert_eq!(answer.closing(0, &finish, true)["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn choices_are_numbered_and_share_a_prompt() {
        let body = answer(Endpoint::Chat, false).whole(&[choice("a"), choice("b")]);
        let said = |n: usize| {
            (body["choices"][n]["index"].clone(), body["choices"][n]["message"]["content"].clone())
        };
        assert_eq!((said(0), said(1)), ((json!(0), json!("a")), (json!(1), json!("b"))));
        assert_eq!(
            body["usage"],
            json!({
                "prompt_tokens": 2,
                "prompt_tokens_details": {"cached_tokens": 1},
                "completion_tokens": 6,
                "total_tokens": 8,
            })
        );
    }

    #[test]
    fn chunks() {
        let all = |answer: Answer| {
            let opening = answer.opening(0);
            opening
                .into_iter()
                .chain([answer.piece(0, "hi", &[], 0), answer.closing(0, &finish(), false)])
                .chain(answer.usage(&[finish()]))
                .collect::<Vec<_>>()
        };
        insta::assert_json_snapshot!([
            all(answer(Endpoint::Chat, true)),
            all(answer(Endpoint::Completion, false)),
        ]);
    }
}
