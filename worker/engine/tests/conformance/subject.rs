//! An engine under test, and what is heard from it.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use hearth_model::{Footprint, Model, gguf};

use hearth_engine::{
    Cancel, Engine, FinishReason, Gone, Input, Item, LoadError, LoadEvent, LoadSpec, Request, RequestError,
    Sampling, Shortcuts, Stop, UnknownModel, Usage,
};
use hearth_text::tokenizer::Tokenizer;

/// How long an engine may be silent: far over what anything takes on a busy
/// machine, so that only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(120);

/// An engine with one model loaded.
pub(crate) struct Subject {
    pub(crate) engine: Engine,
    pub(crate) spec: LoadSpec,
    pub(crate) tokenizer: Tokenizer,
}

impl Subject {
    /// Loads the model. Cases write broken copies of its file next to it.
    ///
    /// # Panics
    /// The model is not loaded, or has fewer than two places or no room for the
    /// cases' prompts.
    #[must_use]
    pub(crate) fn load(engine: Engine, spec: LoadSpec) -> Self {
        assert!(spec.sequences >= 2, "cases run requests beside each other");
        assert!(spec.context_tokens >= 224, "cases read prompts of more than a chunk");
        let model = Model::from_gguf(&gguf::read_file(&spec.path).unwrap()).unwrap();
        let tokenizer = Tokenizer::new(&model.tokenizer.unwrap()).unwrap();
        let subject = Self { engine, spec, tokenizer };
        subject.start_load(&subject.spec).outcome().unwrap();
        subject
    }

    pub(crate) fn places(&self) -> usize {
        self.spec.sequences as usize
    }

    pub(crate) fn ask(&self, request: Request) -> Stream {
        self.ask_of(&self.spec.id, request)
    }

    pub(crate) fn ask_of(&self, id: &str, request: Request) -> Stream {
        let (sender, items) = mpsc::channel();
        let sink = move |item| sender.send(item).map_err(|_| Gone);
        Stream { cancel: self.engine.generate(id, request, Box::new(sink)), items }
    }

    /// Asks, and comes back when the engine is held in the first delta, where it
    /// stays until something is sent, which is dropped there.
    pub(crate) fn ask_held<T: Send + 'static>(&self, request: Request) -> (Stream, Sender<T>) {
        let (hold, go, reached) = Hold::new();
        let (sender, items) = mpsc::channel();
        let sink = move |item: Item| {
            if !item.is_terminal() {
                hold.here();
            }
            sender.send(item).map_err(|_| Gone)
        };
        let cancel = self.engine.generate(&self.spec.id, request, Box::new(sink));
        wait(&reached);
        (Stream { cancel, items }, go)
    }

    /// Asks everything at once and tells all items in the order in which they
    /// were sent.
    pub(crate) fn ask_all(&self, requests: Vec<Request>) -> Vec<(usize, Item)> {
        let (sender, items) = mpsc::channel();
        let ask = |(nth, request)| {
            let sender = sender.clone();
            let sink = move |item| sender.send((nth, item)).map_err(|_| Gone);
            self.engine.generate(&self.spec.id, request, Box::new(sink))
        };
        let _cancels = requests.into_iter().enumerate().map(ask).collect::<Vec<_>>();
        drop(sender);
        drain(&items)
    }

    /// The answer to a short request: a place is free and the model works.
    pub(crate) fn is_alive(&self) {
        self.ask(greedy("still there?", 3)).answer().finished();
    }

    pub(crate) fn tokenize(&self, input: Input) -> Vec<u32> {
        let (sender, tokens) = mpsc::channel();
        let done = move |result| drop(sender.send(result));
        self.engine.tokenize(&self.spec.id, input, Box::new(done));
        tokens.recv_timeout(PATIENCE).unwrap().unwrap()
    }

    pub(crate) fn start_load(&self, spec: &LoadSpec) -> Load {
        let (sender, events) = mpsc::channel();
        let on = move |event| drop(sender.send(event));
        Load { cancel: self.engine.load(spec.clone(), Box::new(on)), events }
    }

    /// Loads, and comes back when the load is held in the first progress whose
    /// `done` and `total` are asked for, where it stays until something is sent,
    /// which is dropped there.
    pub(crate) fn start_load_held<T: Send + 'static>(
        &self,
        spec: &LoadSpec,
        at: fn(u64, u64) -> bool,
    ) -> (Load, Sender<T>) {
        let (hold, go, reached) = Hold::new();
        let (sender, events) = mpsc::channel();
        let on = move |event| {
            if let LoadEvent::Progress { done, total, .. } = event
                && at(done, total)
            {
                hold.here();
            }
            drop(sender.send(event));
        };
        let cancel = self.engine.load(spec.clone(), Box::new(on));
        wait(&reached);
        (Load { cancel, events }, go)
    }

    pub(crate) fn start_unload(&self, id: &str) -> Receiver<Result<(), UnknownModel>> {
        let (sender, done) = mpsc::channel();
        self.engine.unload(id, Box::new(move |result| drop(sender.send(result))));
        done
    }

    pub(crate) fn unload(&self, id: &str) -> Result<(), UnknownModel> {
        wait(&self.start_unload(id))
    }
}

/// A place in a callback where the engine waits for the case, once.
struct Hold<T> {
    reached: Sender<()>,
    go: Receiver<T>,
}

impl<T> Hold<T> {
    /// The hold, what lets go of it, and what tells that it was reached.
    fn new() -> (Self, Sender<T>, Receiver<()>) {
        let (reached, is_reached) = mpsc::channel();
        let (lets_go, go) = mpsc::channel();
        (Self { reached, go }, lets_go, is_reached)
    }

    /// Waits, until the other side has sent something or has gone.
    fn here(&self) {
        let _ = self.reached.send(());
        drop(self.go.recv_timeout(PATIENCE));
    }
}

/// Lets a held engine go on, for good.
pub(crate) fn release(go: Sender<()>) {
    go.send(()).unwrap();
}

/// The next thing, which has to come.
pub(crate) fn wait<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(PATIENCE).unwrap()
}

/// Everything, until the engine has let go of its end.
pub(crate) fn drain<T>(receiver: &Receiver<T>) -> Vec<T> {
    let mut all = Vec::new();
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(next) => all.push(next),
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => panic!("nothing came for {PATIENCE:?}, and no end"),
        }
    }
}

/// The likeliest continuation, as long as asked.
pub(crate) fn greedy(text: &str, max_tokens: u32) -> Request {
    Request {
        input: Input::Prompt(text.into()),
        sampling: Sampling::greedy(),
        stop: Stop { max_tokens: Some(max_tokens), sequences: vec![], ignore_eos: true, min_tokens: 0 },
        constraint: None,
        shortcuts: Shortcuts::default(),
    }
}

/// A prompt of some tokens, none of which is a special one in usual vocabularies.
pub(crate) fn tokens(count: usize) -> Input {
    Input::Tokens((0..count as u32).map(|nth| 10 + nth % 64).collect())
}

/// A request that was made.
pub(crate) struct Stream {
    pub(crate) cancel: Cancel,
    pub(crate) items: Receiver<Item>,
}

impl Stream {
    pub(crate) fn answer(self) -> Answer {
        Answer::new(drain(&self.items))
    }

    /// Cancels from within the first delta, where it is held.
    pub(crate) fn cancel_with(self, go: Sender<Cancel>) -> Answer {
        let Self { cancel, items } = self;
        go.send(cancel).unwrap();
        drop(go);
        Answer::new(drain(&items))
    }
}

/// All that a request said.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) ids: Vec<u32>,
    pub(crate) deltas: usize,
    pub(crate) end: Result<Finish, RequestError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finish {
    pub(crate) reason: FinishReason,
    pub(crate) usage: Usage,
    pub(crate) stop_sequence: Option<String>,
}

impl Answer {
    /// # Panics
    /// The items do not end with the only terminal one.
    pub(crate) fn new(items: Vec<Item>) -> Self {
        let (mut text, mut ids, mut deltas, mut end) = (String::new(), Vec::new(), 0, None);
        for item in items {
            assert_eq!(end, None, "{item:?} follows the terminal item");
            match item {
                Item::Delta { text: piece, token_ids, .. } => {
                    text += &piece;
                    ids.extend(token_ids);
                    deltas += 1;
                }
                Item::Finish { reason, usage, stop_sequence } => {
                    end = Some(Ok(Finish { reason, usage, stop_sequence }));
                }
                Item::Failed(error) => end = Some(Err(error)),
            }
        }
        Self { text, ids, deltas, end: end.expect("a terminal item") }
    }

    pub(crate) fn finished(&self) -> &Finish {
        self.end.as_ref().unwrap_or_else(|error| panic!("failed instead of finishing: {error}"))
    }

    pub(crate) fn failed(&self) -> &RequestError {
        self.end.as_ref().expect_err("it finished instead of failing")
    }

    pub(crate) fn aborted(&self) {
        let error = self.failed();
        assert!(matches!(error, RequestError::Aborted { .. }), "{error}");
    }
}

/// A load that was begun.
pub(crate) struct Load {
    pub(crate) cancel: Cancel,
    pub(crate) events: Receiver<LoadEvent>,
}

impl Load {
    /// # Panics
    /// The events do not end with the only terminal one.
    pub(crate) fn outcome(self) -> Result<Footprint, LoadError> {
        outcome(&self.events)
    }

    /// Cancels from within the progress where it is held.
    pub(crate) fn cancel_with(self, go: Sender<Cancel>) -> Result<Footprint, LoadError> {
        let Self { cancel, events } = self;
        go.send(cancel).unwrap();
        drop(go);
        outcome(&events)
    }
}

fn outcome(events: &Receiver<LoadEvent>) -> Result<Footprint, LoadError> {
    let mut end = None;
    for event in drain(events) {
        assert!(end.is_none(), "{event:?} follows the terminal event");
        match event {
            LoadEvent::Progress { phase, done, total } => assert!(done <= total, "{phase:?} {done}/{total}"),
            LoadEvent::Loaded(footprint) => end = Some(Ok(footprint)),
            LoadEvent::Failed(error) => end = Some(Err(error)),
        }
    }
    end.expect("a terminal event")
}
