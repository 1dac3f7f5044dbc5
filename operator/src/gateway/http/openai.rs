//! The handlers of the OpenAI API.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use hearth_proto::inference::v1::{Delta, generate_response::Event};
use http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    body::Whole,
    choices::Choices,
    error::ApiError,
    parse::{self, Parsed, Tools},
    shape::{self, Answer, Choice, Endpoint},
    stream,
};
use crate::gateway::{deadline::Deadline, forward::Forwarder, memory::Held, refusal::Refusal, validate};

/// `POST /v1/chat/completions`
pub(super) async fn chat(forwarder: State<Arc<Forwarder>>, body: Whole) -> Result<Response, ApiError> {
    answer(&forwarder, Endpoint::Chat, body.parse(parse::chat)?).await
}

/// `POST /v1/completions`
pub(super) async fn completion(forwarder: State<Arc<Forwarder>>, body: Whole) -> Result<Response, ApiError> {
    answer(&forwarder, Endpoint::Completion, body.parse(parse::completion)?).await
}

/// `GET /v1/models`
pub(super) async fn models(forwarder: State<Arc<Forwarder>>) -> Json<Value> {
    let now = Timestamp::now();
    let models: Vec<Value> = forwarder.models(now).iter().map(|model| shape::model(model, now)).collect();
    Json(json!({"object": "list", "data": models}))
}

/// `GET /v1/models/{id}`
pub(super) async fn model(
    forwarder: State<Arc<Forwarder>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    validate::name(&id)?;
    let now = Timestamp::now();
    let models = forwarder.models(now);
    match models.iter().find(|model| model.name == id) {
        Some(model) => Ok(Json(shape::model(model, now))),
        None => {
            let known = models.into_iter().map(|model| model.name).collect();
            Err(Refusal::UnknownModel { name: id, known }.into())
        }
    }
}

/// Whatever is not there.
pub(super) async fn not_found(uri: http::Uri) -> ApiError {
    ApiError::bad(
        StatusCode::NOT_FOUND,
        Some("unknown_url"),
        None,
        format!("there is nothing at {}", uri.path()),
    )
}

/// A path that is there, with another method.
pub(super) async fn wrong_method(method: http::Method, uri: http::Uri) -> ApiError {
    ApiError::bad(
        StatusCode::METHOD_NOT_ALLOWED,
        Some("method_not_allowed"),
        None,
        format!("{} does not take {method}", uri.path()),
    )
}

async fn answer(
    forwarder: &Arc<Forwarder>,
    endpoint: Endpoint,
    (parsed, held): (Parsed, Held),
) -> Result<Response, ApiError> {
    let Parsed { mut request, choices: count, tools, stream, include_usage } = parsed;
    let message = forwarder.prepare(&request, held)?;
    let model = std::mem::take(&mut request.model);
    // What is paid for from here on is the message alone.
    drop(request);
    let answer = Answer {
        endpoint,
        id: Uuid::new_v4().simple().to_string(),
        created: Timestamp::now().as_second(),
        model,
        include_usage: stream && include_usage,
    };
    let deadline = Deadline::unnamed(forwarder.deadlines, Instant::now());
    let choices = Choices::begin(forwarder, &message, count, deadline)?;
    if stream {
        stream::respond(choices, count, &tools, answer).await
    } else {
        whole(choices, count, &tools, &answer).await
    }
}

async fn whole(
    mut choices: Choices,
    count: u32,
    tools: &Tools,
    answer: &Answer,
) -> Result<Response, ApiError> {
    let mut done = vec![Choice::default(); count as usize];
    let mut finished = 0;
    while let Some((index, item)) = choices.next().await {
        let Some(choice) = done.get_mut(index as usize) else { continue };
        match item?.event {
            Some(Event::Delta(Delta { text, token_ids: _, logprobs })) => {
                choice.text.push_str(&text);
                choice.logprobs.extend(logprobs);
            }
            Some(Event::Finish(finish)) => {
                choice.finish = finish;
                finished += 1;
                choice.find_calls(tools);
            }
            Some(Event::Waiting(_)) | None => {}
        }
    }
    if finished == count {
        return Ok(Json(answer.whole(&done)).into_response());
    }
    // A generation ends with a finish or an error, so this is a bug of ours.
    Err(tonic::Status::internal("the generation ended without an end").into())
}
