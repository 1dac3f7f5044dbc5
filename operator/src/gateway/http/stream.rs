//! A generation as server-sent events.

use std::{convert::Infallible, time::Duration};

use axum::response::{
    IntoResponse, Response,
    sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, StreamExt as _, stream};
use hearth_proto::inference::v1::{
    Delta, Finish, GenerateResponse, TokenLogprobs, Waiting, generate_response,
};
use http::HeaderValue;
use serde_json::Value;
use tonic::Status;

use super::{
    calls::{Scanner, Seen},
    choices::Choices,
    error::ApiError,
    logprobs,
    parse::Tools,
    shape::Answer,
};

/// Between two signs of life while a long prompt is read.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Streams choices. An error that comes before anything else is an ordinary response with its
/// own status.
pub(super) async fn respond(
    mut choices: Choices,
    count: u32,
    tools: &Tools,
    answer: Answer,
) -> Result<Response, ApiError> {
    let first = match choices.next().await {
        Some((_, Err(status))) => return Err(status.into()),
        first => first,
    };
    let mut writer = Writer::new(answer, count, tools);
    let events = stream::iter(first)
        .chain(choices.into_stream())
        .flat_map(move |(index, item)| stream::iter(writer.write(index, item)))
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
    choices: Vec<Progress>,
    finishes: Vec<Finish>,
}

/// How far one choice is.
#[derive(Clone, Debug, Default)]
struct Progress {
    opened: bool,
    /// Characters of the tokens whose log probabilities were told.
    offset: usize,
    /// Looks for calls, if there can be some.
    scanner: Option<Scanner>,
    /// Calls so far.
    calls: usize,
}

impl Writer {
    fn new(answer: Answer, count: u32, tools: &Tools) -> Self {
        let scanner = (!tools.names.is_empty()).then(|| Scanner::new(tools.clone()));
        let choices = vec![Progress { scanner, ..Progress::default() }; count as usize];
        Self { answer, choices, finishes: Vec::new() }
    }

    fn write(&mut self, index: u32, item: Result<GenerateResponse, Status>) -> Vec<Event> {
        use generate_response::Event as Item;
        match item {
            Ok(GenerateResponse { event: Some(Item::Waiting(waiting)) }) => {
                vec![Event::default().comment(comment(&waiting))]
            }
            Ok(GenerateResponse { event: Some(Item::Delta(delta)) }) => self.delta(index, delta),
            Ok(GenerateResponse { event: Some(Item::Finish(finish)) }) => self.finish(index, finish),
            Ok(GenerateResponse { event: None }) => vec![],
            // There is no [DONE]: the answer is not.
            Err(status) => vec![data(&ApiError::from(status).body())],
        }
    }

    fn delta(&mut self, index: u32, delta: Delta) -> Vec<Event> {
        let Delta { text, token_ids: _, logprobs } = delta;
        let mut events = self.open(index);
        let Some(choice) = self.choices.get_mut(index as usize) else { return events };
        let mut seen = match &mut choice.scanner {
            Some(scanner) => scanner.push(&text),
            None => vec![Seen::Text(text)],
        };
        // Log probabilities go with the first text, or alone.
        if !matches!(seen.first(), Some(Seen::Text(_))) {
            seen.insert(0, Seen::Text(String::new()));
        }
        self.tell(index, seen, &logprobs, &mut events);
        events
    }

    fn tell(&mut self, index: u32, seen: Vec<Seen>, logprobs: &[TokenLogprobs], events: &mut Vec<Event>) {
        let Some(choice) = self.choices.get_mut(index as usize) else { return };
        let mut logprobs = logprobs;
        for seen in seen {
            match seen {
                Seen::Text(text) if text.is_empty() && logprobs.is_empty() => {}
                Seen::Text(text) => {
                    events.push(data(&self.answer.piece(index, &text, logprobs, choice.offset)));
                    choice.offset += logprobs::width(std::mem::take(&mut logprobs));
                }
                Seen::Call(call) => {
                    events.push(data(&self.answer.call(index, choice.calls, &call)));
                    choice.calls += 1;
                }
            }
        }
    }

    fn finish(&mut self, index: u32, finish: Finish) -> Vec<Event> {
        let mut events = self.open(index);
        let scanner = self.choices.get_mut(index as usize).and_then(|choice| choice.scanner.take());
        let rest = scanner.map_or_else(Vec::new, Scanner::finish);
        self.tell(index, rest, &[], &mut events);
        let called = self.choices.get(index as usize).is_some_and(|choice| choice.calls > 0);
        events.push(data(&self.answer.closing(index, &finish, called)));
        self.finishes.push(finish);
        if self.finishes.len() == self.choices.len() {
            events.extend(self.answer.usage(&self.finishes).as_ref().map(data));
            events.push(Event::default().data("[DONE]"));
        }
        events
    }

    fn open(&mut self, index: u32) -> Vec<Event> {
        let Some(choice) = self.choices.get_mut(index as usize) else { return vec![] };
        let opening = if choice.opened { None } else { self.answer.opening(index) };
        choice.opened = true;
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
