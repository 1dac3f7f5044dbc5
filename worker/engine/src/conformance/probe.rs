//! Callers that remember what they heard.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use hearth_model::Footprint;

use crate::{
    Cancel, Engine, FinishReason, Gone, Input, Item, LoadError, LoadEvent, LoadSpec, Phase, Request,
    RequestError, Sampling, Shortcuts, Stop, UnknownModel, Usage,
};

use super::ID;

/// Far beyond what anything takes, so that a check that hangs fails instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was heard of a load.
pub(super) struct Heard {
    /// Phase, what was done of it, what there was to do.
    pub(super) progress: Vec<(Phase, u64, u64)>,
    pub(super) end: Result<Footprint, LoadError>,
}

/// Loads, and waits for the end.
pub(super) fn load(engine: &Engine, spec: LoadSpec) -> Heard {
    let (cancel, events) = begin_load(engine, spec);
    let heard = wait_load(&events);
    drop(cancel);
    heard
}

pub(super) fn begin_load(engine: &Engine, spec: LoadSpec) -> (Cancel, Receiver<LoadEvent>) {
    let (sender, events) = mpsc::channel();
    let on = move |event| {
        let _ = sender.send(event);
    };
    (engine.load(spec, Box::new(on)), events)
}

/// # Panics
/// The load does not end, or goes on after its end.
pub(super) fn wait_load(events: &Receiver<LoadEvent>) -> Heard {
    let mut progress = Vec::new();
    let end = loop {
        match next(events).expect("a load ends with Loaded or Failed") {
            LoadEvent::Progress { phase, done, total } => progress.push((phase, done, total)),
            LoadEvent::Loaded(measured) => break Ok(measured),
            LoadEvent::Failed(error) => break Err(error),
        }
    };
    assert!(next(events).is_none(), "a load goes on after its end");
    Heard { progress, end }
}

pub(super) fn unload(engine: &Engine, id: &str) -> Result<(), UnknownModel> {
    let (sender, done) = mpsc::channel();
    let on = move |result| {
        let _ = sender.send(result);
    };
    engine.unload(id, Box::new(on));
    next(&done).expect("an unload is answered")
}

/// What comes next; `None` once the sender is gone.
///
/// # Panics
/// Nothing comes and the sender stays.
pub(super) fn next<T>(receiver: &Receiver<T>) -> Option<T> {
    match receiver.recv_timeout(PATIENCE) {
        Ok(item) => Some(item),
        Err(RecvTimeoutError::Disconnected) => None,
        Err(RecvTimeoutError::Timeout) => panic!("nothing was heard for {PATIENCE:?}"),
    }
}

/// Greedy, without an end token, so that it runs for as long as it may.
pub(super) fn endless(prompt: &str) -> Request {
    let stop = Stop { ignore_eos: true, ..Stop::default() };
    Request {
        input: Input::Prompt(prompt.into()),
        sampling: Sampling::greedy(),
        stop,
        constraint: None,
        shortcuts: Shortcuts::default(),
    }
}

/// Greedy, of this length.
pub(super) fn of_length(prompt: &str, tokens: u32) -> Request {
    let mut request = endless(prompt);
    request.stop.max_tokens = Some(tokens);
    request
}

/// A request under way.
pub(super) struct Stream {
    pub(super) cancel: Cancel,
    pub(super) items: Receiver<Item>,
}

/// What a request came to.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) text: String,
    pub(super) ids: Vec<u32>,
    pub(super) deltas: usize,
    pub(super) end: Result<End, RequestError>,
}

#[derive(Debug, PartialEq)]
pub(super) struct End {
    pub(super) reason: FinishReason,
    pub(super) usage: Usage,
    pub(super) stop_sequence: Option<String>,
}

impl Outcome {
    /// # Panics
    /// The request failed.
    pub(super) fn end(&self) -> &End {
        self.end.as_ref().unwrap_or_else(|error| panic!("the request failed: {error}"))
    }
}

pub(super) fn ask(engine: &Engine, request: Request) -> Stream {
    ask_of(engine, ID, request)
}

pub(super) fn ask_of(engine: &Engine, id: &str, request: Request) -> Stream {
    let (sender, items) = mpsc::channel();
    let sink = move |item| sender.send(item).map_err(|_| Gone);
    Stream { cancel: engine.generate(id, request, Box::new(sink)), items }
}

/// Asks and waits.
pub(super) fn answer(engine: &Engine, request: Request) -> Outcome {
    ask(engine, request).wait()
}

impl Stream {
    /// # Panics
    /// There is not exactly one terminal item, as the last.
    pub(super) fn wait(self) -> Outcome {
        let (mut text, mut ids, mut deltas) = (String::new(), Vec::new(), 0);
        let end = loop {
            match next(&self.items).expect("a stream ends with a terminal item") {
                Item::Delta { text: piece, token_ids, .. } => {
                    text += &piece;
                    ids.extend(token_ids);
                    deltas += 1;
                }
                Item::Finish { reason, usage, stop_sequence } => {
                    break Ok(End { reason, usage, stop_sequence });
                }
                Item::Failed(error) => break Err(error),
            }
        };
        // The sink goes with the request, which closes the channel.
        assert!(next(&self.items).is_none(), "a stream goes on after its terminal item");
        drop(self.cancel);
        Outcome { text, ids, deltas, end }
    }
}
