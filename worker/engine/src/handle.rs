//! The handle that callers hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::api::{
    Backend, Cancel, Input, Listener, LoadEvent, LoadSpec, Outlet, Request, RequestError, Sink, StartError,
    UnknownModel,
};
use crate::loader::Runtime;
use crate::pulse::{Heart, Pulse};
use crate::reader::Reader;
use crate::simulated::Simulated;
use crate::stats::{Board, Stats};
use crate::thread::{self, Message, Order, front};
use hearth_cpu::Cpu;
use hearth_reference::Reference;

/// A handle to an engine: one thread that holds one device, and ones that turn
/// requests into tokens for it.
///
/// Clones name the same engine. No method waits: answers come through callbacks,
/// on the engine's threads. When the last handle goes, requests end with
/// [`RequestError::Aborted`] and the device is let go.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    orders: Orders,
    front: Option<front::Front>,
    device: JoinHandle<()>,
    heart: Arc<Heart>,
    board: Arc<Board>,
}

/// Sends to the device thread. An order that comes back has no thread to go to.
pub(crate) type Orders = Arc<dyn Fn(Order) + Send + Sync>;

/// What reads the requests of the models that are loaded, for whoever has to read a
/// request before the device does.
pub(crate) type Library = Arc<RwLock<HashMap<String, Arc<Reader>>>>;

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// The build or the machine lacks the device, or there is no thread to be had.
    pub fn start(kind: Backend) -> Result<Self, StartError> {
        match kind {
            Backend::Cpu(config) => Self::run(Cpu::open(config)?),
            Backend::Reference(compute) => Self::run(Reference::open(compute)?),
            Backend::Simulated(config) => Self::run(Simulated::open(config)?),
        }
    }

    fn run<R: Runtime>(runtime: R) -> Result<Self, StartError> {
        let library = Library::default();
        let (messages, inbox) = mpsc::channel();
        let (heart, board) = (Arc::<Heart>::default(), Arc::<Board>::default());
        let seen = thread::Seen { heart: Arc::clone(&heart), board: Arc::clone(&board) };
        let device = thread::spawn(runtime, messages.clone(), inbox, Arc::clone(&library), seen)?;
        let orders: Orders = Arc::new(move |order| {
            if let Err(mpsc::SendError(Message::Order(order))) = messages.send(Message::Order(order)) {
                order.refuse();
            }
        });
        let front = front::spawn(&library, &orders)?;
        Ok(Self { inner: Arc::new(Inner { orders, front: Some(front), device, heart, board }) })
    }

    /// Loads a model. `on` hears [`LoadEvent::Progress`] any number of times,
    /// then exactly one [`LoadEvent::Loaded`] or [`LoadEvent::Failed`]; it runs
    /// on the engine's threads and must not block. Dropping the answer before the
    /// end cancels the load.
    pub fn load(&self, spec: LoadSpec, on: Box<dyn FnMut(LoadEvent) + Send>) -> Cancel {
        let (cancel, cancelled) = Cancel::new();
        self.order(Order::Load { spec, listener: Listener::new(on), cancelled });
        cancel
    }

    /// Ends the model's requests with [`RequestError::Aborted`], gives its memory
    /// back, and then calls `done`. A load under way is cancelled.
    pub fn unload(&self, id: &str, done: Box<dyn FnOnce(Result<(), UnknownModel>) + Send>) {
        self.order(Order::Unload { id: id.into(), done });
    }

    /// Generates. `sink` hears deltas, then exactly one terminal item, unless it
    /// answers [`Gone`](crate::Gone). Dropping the answer before the end cancels
    /// the request.
    pub fn generate(&self, id: &str, request: Request, sink: Box<dyn Sink>) -> Cancel {
        let (cancel, cancelled) = Cancel::new();
        let outlet = Outlet::new(sink);
        self.read(front::Task::Generate { id: id.into(), request, outlet, cancelled });
        cancel
    }

    /// The tokens of an input, as [`Engine::generate`] would make them. An input
    /// that cannot fit into the context is refused.
    pub fn tokenize(
        &self,
        id: &str,
        input: Input,
        done: Box<dyn FnOnce(Result<Vec<u32>, RequestError>) + Send>,
    ) {
        self.read(front::Task::Tokenize { id: id.into(), input, done });
    }

    /// Whether the device thread runs. It ends only when the last handle goes,
    /// or by a fault, after which every request fails: start the process again.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.inner.device.is_finished()
    }

    /// What the device thread is at. Never waits, also when that thread hangs in a
    /// driver: then [`Pulse::is_late`], and only the end of the process helps.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.inner.heart.pulse(Instant::now())
    }

    /// What the models that are loaded are at, by their ids. Never waits.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<String, Stats> {
        self.inner.board.all()
    }

    fn order(&self, order: Order) {
        (self.inner.orders)(order);
    }

    fn read(&self, task: front::Task) {
        if let Some(front) = &self.inner.front {
            front.send(task);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The front ends when its channel does; the device thread holds a sender
        // of its own and has to be told.
        self.front = None;
        (self.orders)(Order::Shutdown);
    }
}

/// A poisoned library is still a map.
pub(crate) fn look_up(library: &Library, id: &str) -> Option<Arc<Reader>> {
    library.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use hearth_model::testing::{TinyLlama, tiny_llama_gguf};
    use hearth_model::{Footprint, KvType, Model};

    use hearth_text::TextModel;

    use super::*;
    use hearth_program::{BuildError, Built, Watch};

    use crate::{Item, Sampling, Stop};
    use hearth_program::{Answers, Output, PageLayout, Program, Row, StepError};

    /// A device that is spoilt once a model is warm.
    struct Spoilt;

    struct SpoiltProgram {
        pages: PageLayout,
        vocabulary: usize,
        steps_left: usize,
    }

    impl Runtime for Spoilt {
        type Program = SpoiltProgram;

        fn load(
            &self,
            spec: &LoadSpec,
            _: &Model,
            text: &TextModel,
            _: &mut dyn Watch,
        ) -> Result<Built<SpoiltProgram>, BuildError> {
            let pages = PageLayout::new([None], &spec.shape());
            let program = SpoiltProgram { pages, vocabulary: text.tokenizer().vocabulary(), steps_left: 2 };
            Ok(Built { program, measured: Footprint::default() })
        }
    }

    impl Program for SpoiltProgram {
        fn pages(&self) -> &PageLayout {
            &self.pages
        }

        fn output(&self) -> Output {
            Output::Logits { vocabulary: self.vocabulary }
        }

        fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError> {
            self.steps_left = self.steps_left.checked_sub(1).expect("a context that is not spoilt");
            answers.prepare(self.vocabulary, batch).fill(0.0);
            Ok(())
        }
    }

    #[test]
    fn a_device_that_panics_ends_the_thread_and_every_request() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), tiny_llama_gguf(&TinyLlama::new(1))).unwrap();
        let engine = Engine::run(Spoilt).unwrap();
        let spec = LoadSpec {
            id: "m".into(),
            path: file.path().into(),
            context_tokens: 16,
            sequences: 1,
            kv_type: KvType::F16,
        };
        let (sender, events) = mpsc::channel();
        let _load = engine.load(spec, Box::new(move |event| drop(sender.send(event))));
        let last = events.iter().find(|event| !matches!(event, LoadEvent::Progress { .. }));
        assert!(matches!(last, Some(LoadEvent::Loaded(_))), "{last:?}");

        let ask = || {
            let (sender, items) = mpsc::channel();
            let sink = move |item: Item| {
                let _ = sender.send(item);
                Ok(())
            };
            let request = Request {
                input: Input::Prompt("x".into()),
                sampling: Sampling::greedy(),
                stop: Stop::default(),
                constraint: None,
                shortcuts: crate::Shortcuts::default(),
            };
            (engine.generate("m", request, Box::new(sink)), items)
        };
        let (_first, first) = ask();
        let (_second, second) = ask();
        assert!(matches!(first.recv(), Ok(Item::Failed(RequestError::Internal { .. }))));
        let let_go = |item| matches!(item, Ok(Item::Failed(RequestError::Aborted { .. })));
        assert!(let_go(second.recv()));
        let began = Instant::now();
        while engine.is_running() {
            assert!(began.elapsed() < Duration::from_secs(60), "the thread goes on");
            std::thread::yield_now();
        }
        let (_third, third) = ask();
        assert!(let_go(third.recv()));
    }
}
