//! Between the wire's types and the engine's.

mod chat;
mod options;

use std::time::Duration;

use hearth_engine::{
    FinishReason, Input, LoadSpec, Request, RequestError, Stats, TokenLogprob, TokenLogprobs, Usage,
};
use hearth_model::KvType;
use hearth_proto::engine::v1::{LoadRequest, ReplicaStats};
use hearth_proto::inference::v1 as api;
use hearth_proto::inference::v1::generate_request;
use hearth_proto::inference::v1::tokenize_request;
use hearth_proto::worker::v1 as worker;
use tonic::Status;

use crate::status;

/// When an engine is full, some request ends about this soon.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);

pub(super) fn load_spec(request: LoadRequest) -> Result<LoadSpec, Status> {
    let kv_type = match request.kv_type() {
        worker::KvType::F16 => KvType::F16,
        worker::KvType::Q80 => KvType::Q8_0,
        worker::KvType::Unspecified => return Err(status::invalid("kv_type", "is missing")),
    };
    let LoadRequest { replica_id, path, context_tokens, sequences, kv_type: _ } = request;
    Ok(LoadSpec { id: replica_id, path: path.into(), context_tokens, sequences, kv_type })
}

/// The replica that is meant, and what is asked of it.
pub(super) fn request(request: api::GenerateRequest) -> Result<(String, Request), Status> {
    let api::GenerateRequest { model, input, sampling, stop, constraint, shortcuts } = request;
    let input = match input {
        None => return Err(no_input("one of prompt, chat and tokens")),
        Some(generate_request::Input::Prompt(text)) => Input::Prompt(text),
        Some(generate_request::Input::Chat(messages)) => chat::input(messages)?,
        Some(generate_request::Input::Tokens(tokens)) => Input::Tokens(tokens.ids),
    };
    let sampling = options::sampling(sampling.unwrap_or_default());
    let stop = options::stop(stop.unwrap_or_default());
    let constraint = constraint.map(options::constraint).transpose()?;
    let shortcuts = options::shortcuts(shortcuts.unwrap_or_default());
    Ok((model, Request { input, sampling, stop, constraint, shortcuts }))
}

pub(super) fn tokenize(request: api::TokenizeRequest) -> Result<(String, Input), Status> {
    let api::TokenizeRequest { model, input } = request;
    let input = match input {
        None => return Err(no_input("one of prompt and chat")),
        Some(tokenize_request::Input::Prompt(text)) => Input::Prompt(text),
        Some(tokenize_request::Input::Chat(messages)) => chat::input(messages)?,
    };
    Ok((model, input))
}

fn no_input(what: &str) -> Status {
    status::invalid("input", format!("is missing: give {what}"))
}

pub(super) fn finish(reason: FinishReason, usage: Usage, stop_sequence: Option<String>) -> api::Finish {
    let reason = match reason {
        FinishReason::Stop => api::FinishReason::Stop,
        FinishReason::Length => api::FinishReason::Length,
    };
    let Usage { prompt_tokens, cached_tokens, completion_tokens } = usage;
    api::Finish {
        reason: reason.into(),
        usage: Some(api::Usage { prompt_tokens, completion_tokens, cached_tokens }),
        stop_sequence,
    }
}

pub(super) fn replica_stats((id, stats): (String, Stats)) -> ReplicaStats {
    let Stats { running, waiting, pages, counts } = stats;
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    ReplicaStats {
        replica_id: id,
        running: number(running),
        waiting: number(waiting),
        pages: pages.total as u64,
        free_pages: pages.free as u64,
        cached_pages: pages.cached as u64,
        steps: counts.steps,
        read_tokens: counts.read_tokens,
        cached_tokens: counts.cached_tokens,
        decoded_tokens: counts.decoded_tokens,
        preemptions: counts.preemptions,
        guesses: counts.guesses,
        right_guesses: counts.right_guesses,
    }
}

pub(super) fn logprobs(TokenLogprobs { token, top }: TokenLogprobs) -> api::TokenLogprobs {
    let one = |TokenLogprob { id, bytes, logprob }| api::TokenLogprob { id, bytes, logprob };
    api::TokenLogprobs { token: Some(one(token)), top: top.into_iter().map(one).collect() }
}

pub(super) fn request_error(error: &RequestError) -> Status {
    let text = error.to_string();
    match error {
        RequestError::Invalid { field, value, message } => {
            status::invalid(field, format!("is {value}: {message}"))
        }
        RequestError::ContextExceeded { field, .. } => status::invalid(field, text),
        RequestError::UnknownModel { id } => status::unknown_model(id, text),
        RequestError::Busy { .. } => status::full(text, RETRY_WHEN_FULL),
        RequestError::Aborted { .. } => Status::aborted(text),
        RequestError::Internal { .. } => Status::internal(text),
    }
}
