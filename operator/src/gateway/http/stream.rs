//! A generation as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt as _, stream};
use hearth_proto::inference::v1::{Delta, GenerateResponse, Waiting, generate_response};
use http::HeaderValue;
use serde_json::Value;
use tonic::Status;

use super::{error::ApiError, shape::Answer};
use crate::gateway::forward::generation::Generation;

/// Between two signs of life while a long prompt is read.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams a generation. An error that comes before anything else is an ordinary response with
/// its own status.
pub(super) async fn respond(mut generation: Generation, answer: Answer) -> Result<Response, ApiError> {
    let first = match generation.next().await {
        Some(Err(status)) => return Err(status.into()),
        Some(Ok(first)) => Some(Ok(first)),
        None => None,
    };
    let mut writer = Writer { answer, opened: false };
    let events = stream::iter(first)
        .chain(generation.into_stream())
        .flat_map(move |item| stream::iter(writer.write(item)))
        .map(Ok::<_, Infallible>);
    Ok(sse(events))
}

fn sse(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // nginx would collect the tokens otherwise.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Writer {
    answer: Answer,
    opened: bool,
}

impl Writer {
    fn write(&mut self, item: Result<GenerateResponse, Status>) -> Vec<Event> {
        use generate_response::Event as Item;
        match item {
            Ok(GenerateResponse { event: Some(Item::Waiting(waiting)) }) => {
                vec![Event::default().comment(comment(&waiting))]
            }
            Ok(GenerateResponse { event: Some(Item::Delta(Delta { text, .. })) }) => {
                let mut events = self.open();
                if !text.is_empty() {
                    events.push(data(&self.answer.piece(&text)));
                }
                events
            }
            Ok(GenerateResponse { event: Some(Item::Finish(finish)) }) => {
                let mut events = self.open();
                events.push(data(&self.answer.closing(&finish)));
                events.extend(self.answer.usage(&finish).as_ref().map(data));
                events.push(Event::default().data("[DONE]"));
                events
            }
            Ok(GenerateResponse { event: None }) => vec![],
            // There is no [DONE]: the answer is not.
            Err(status) => vec![data(&ApiError::from(status).body())],
        }
    }

    fn open(&mut self) -> Vec<Event> {
        let opening = if self.opened { None } else { self.answer.opening() };
        self.opened = true;
        opening.as_ref().map(data).into_iter().collect()
    }
}

fn data(value: &Value) -> Event {
    Event::default().data(value.to_string())
}

/// A line that clients skip and people see.
fn comment(waiting: &Waiting) -> String {
    let eta = waiting.eta.as_ref().map_or_else(String::new, |eta| format!(", about {} s left", eta.seconds));
    // A line break would end the comment and begin a field.
    let message: String =
        waiting.message.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    format!("waiting: {message}{eta}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_is_one_line() {
        let waiting = Waiting {
            message: "needs 3 GiB\r\n\ndata: x".into(),
            eta: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
            ..Waiting::default()
        };
        assert_eq!(comment(&waiting), "waiting: needs 3 GiB   data: x, about 30 s left");
    }
}
