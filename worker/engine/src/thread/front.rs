//! The threads that read requests before the device does.
//!
//! Rendering a template, tokenizing a long prompt and compiling a grammar take
//! milliseconds that the device thread does not have.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::Builder;

use crate::api::{Cancelled, Input, Outlet, Request, RequestError, Shortcuts, StartError};
use crate::batch::Job;
use crate::handle::{Library, Orders, look_up};
use crate::reader::Read;
use hearth_sample::Guide;

use super::Order;
use super::order::ENDED;

/// Called with the tokens of an input.
pub(crate) type Tokens = Box<dyn FnOnce(Result<Vec<u32>, RequestError>) + Send>;

/// A request as the caller wrote it.
#[expect(clippy::large_enum_variant, reason = "there are few of them, and none lies in a long list")]
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

/// The way to the threads. They end when it goes.
pub(crate) struct Front {
    text: Sender<Task>,
    grammar: Sender<Task>,
}

impl Front {
    pub(crate) fn send(&self, task: Task) {
        let thread = match &task {
            Task::Generate { request, .. } if request.constraint.is_some() => &self.grammar,
            Task::Generate { .. } | Task::Tokenize { .. } => &self.text,
        };
        if let Err(mpsc::SendError(task)) = thread.send(task) {
            task.refuse();
        }
    }
}

/// Starts the threads.
pub(crate) fn spawn(library: &Library, orders: &Orders) -> Result<Front, StartError> {
    // Grammars have a thread of their own: it takes much stack, and one that
    // takes long to compile holds up no plain request.
    let text = Builder::new().name("hearth-text".into());
    let grammar = Builder::new().name("hearth-grammar".into()).stack_size(Guide::STACK_BYTES);
    let start = |thread: Builder| -> Result<Sender<Task>, StartError> {
        let (tasks, inbox) = mpsc::channel();
        let (library, orders) = (Arc::clone(library), Arc::clone(orders));
        thread.spawn(move || run(&inbox, &library, &orders)).map_err(StartError::Thread)?;
        Ok(tasks)
    };
    Ok(Front { text: start(text)?, grammar: start(grammar)? })
}

fn run(inbox: &Receiver<Task>, library: &Library, orders: &Orders) {
    while let Ok(task) = inbox.recv() {
        match task {
            // A caller who left keeps nobody waiting who is there.
            Task::Generate { outlet, cancelled, .. } if cancelled.is_cancelled() => {
                outlet.fail(RequestError::Aborted { reason: "the caller cancelled it".into() });
            }
            Task::Generate { id, request, outlet, cancelled } => {
                match caught(|| read(library, &id, request)) {
                    Ok(Read { prompt, picker, stop, shortcuts: Shortcuts { salt, guesses } }) => {
                        let (salt, guesses) = (salt.into(), guesses as usize);
                        let job = Job { prompt, salt, guesses, picker, stop, outlet, cancelled };
                        orders(Order::Generate { id, job });
                    }
                    Err(error) => outlet.fail(error),
                }
            }
            Task::Tokenize { id, input, done } => done(caught(|| tokenize(library, id, &input))),
        }
    }
}

/// A vocabulary comes from outside, and what it does to the encoder must not end
/// the thread.
fn caught<T>(work: impl FnOnce() -> Result<T, RequestError>) -> Result<T, RequestError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(RequestError::Internal { message: "reading the request panicked; the log has the place".into() })
    })
}

fn read(library: &Library, id: &str, request: Request) -> Result<Read, RequestError> {
    let reader = look_up(library, id).ok_or_else(|| RequestError::UnknownModel { id: id.into() })?;
    reader.read(request)
}

fn tokenize(library: &Library, id: String, input: &Input) -> Result<Vec<u32>, RequestError> {
    let reader = look_up(library, &id).ok_or(RequestError::UnknownModel { id })?;
    Ok(reader.text.tokens(input)?)
}
