//! The thread that reads requests before the device does.
//!
//! Rendering a template and tokenizing a long prompt take milliseconds that the
//! device thread does not have.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};

use crate::api::{Cancelled, Input, Outlet, Request, RequestError, StartError};
use crate::batch::Job;
use crate::handle::{Library, Orders, look_up};
use hearth_sample::Sampler;

use super::Order;
use super::order::ENDED;

/// Called with the tokens of an input.
pub(crate) type Tokens = Box<dyn FnOnce(Result<Vec<u32>, RequestError>) + Send>;

/// A request as the caller wrote it.
pub(crate) enum Task {
    Generate { id: String, request: Request, outlet: Outlet, cancelled: Cancelled },
    Tokenize { id: String, input: Input, done: Tokens },
}

impl Task {
    /// Answers in place of a thread that has ended.
    pub(crate) fn refuse(self) {
        let error = RequestError::Aborted { reason: ENDED.into() };
        match self {
            Task::Generate { outlet, .. } => outlet.fail(error),
            Task::Tokenize { done, .. } => done(Err(error)),
        }
    }
}

/// Starts the thread. It ends when the sender goes.
pub(crate) fn spawn(library: Library, orders: Orders) -> Result<Sender<Task>, StartError> {
    let (tasks, inbox) = mpsc::channel();
    let run = move || {
        while let Ok(task) = inbox.recv() {
            match task {
                Task::Generate { id, request, outlet, cancelled } => {
                    match caught(|| read(&library, &id, request)) {
                        Ok((prompt, sampler, stop)) => {
                            let job = Job { prompt, sampler, stop, outlet, cancelled };
                            orders(Order::Generate { id, job });
                        }
                        Err(error) => outlet.fail(error),
                    }
                }
                Task::Tokenize { id, input, done } => done(caught(|| tokenize(&library, id, &input))),
            }
        }
    };
    let thread = std::thread::Builder::new().name("hearth-text".into());
    thread.spawn(run).map_err(StartError::Thread)?;
    Ok(tasks)
}

/// A vocabulary comes from outside, and what it does to the encoder must not end
/// the thread.
fn caught<T>(work: impl FnOnce() -> Result<T, RequestError>) -> Result<T, RequestError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(RequestError::Internal { message: "reading the request panicked; the log has the place".into() })
    })
}

fn read(
    library: &Library,
    id: &str,
    request: Request,
) -> Result<(Vec<u32>, Sampler, crate::Stop), RequestError> {
    let text = look_up(library, id).ok_or_else(|| RequestError::UnknownModel { id: id.into() })?;
    request.check()?;
    let Request { input, sampling, stop } = request;
    let prompt = text.prompt(&input)?;
    Ok((prompt, Sampler::new(sampling, rand::random()), stop))
}

fn tokenize(library: &Library, id: String, input: &Input) -> Result<Vec<u32>, RequestError> {
    let text = look_up(library, &id).ok_or(RequestError::UnknownModel { id })?;
    Ok(text.tokens(input)?)
}
