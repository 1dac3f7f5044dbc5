//! The thread that holds the device.
//!
//! It owns every loaded model and is the only one that steps them. Files are
//! read on threads of their own, so that a load does not hold up generations;
//! what they built comes back through the same channel as the orders.

pub(crate) mod front;
mod order;
mod share;
mod slot;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError};
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::api::{Cancelled, Listener, LoadError, LoadSpec, RequestError, StartError, UnknownModel};
use crate::batch::{Batcher, Clock, Health, Job, Limits};
use crate::handle::Library;
use crate::loader::{Loaded, Runtime};
use crate::pulse::Heart;
use crate::reader::Reader;
use crate::stats::Board;

pub(crate) use order::{BuiltModel, Done, Message, Order};
use share::{Share, Shares};
use slot::{Build, Slot, build};

/// Starts the thread.
pub(crate) fn spawn<R: Runtime>(
    runtime: R,
    messages: Sender<Message<R::Program>>,
    inbox: Receiver<Message<R::Program>>,
    library: Library,
    seen: Seen,
) -> Result<JoinHandle<()>, StartError> {
    let device = Device {
        runtime: Arc::new(runtime),
        slots: BTreeMap::new(),
        shares: Shares::default(),
        messages,
        texts: library,
        seen,
    };
    Builder::new().name("hearth-device".into()).spawn(move || device.run(&inbox)).map_err(StartError::Thread)
}

/// What the thread tells of itself as it goes.
pub(crate) struct Seen {
    pub(crate) heart: Arc<Heart>,
    pub(crate) board: Arc<Board>,
}

struct Device<R: Runtime> {
    runtime: Arc<R>,
    slots: BTreeMap<String, Slot<R::Program>>,
    shares: Shares,
    /// For the threads that load.
    messages: Sender<Message<R::Program>>,
    texts: Library,
    seen: Seen,
}

/// The clock of the machine, since a moment.
struct Since(Instant);

impl Clock for Since {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

enum Next {
    GoOn,
    End,
}

impl<R: Runtime> Device<R> {
    fn run(mut self, inbox: &Receiver<Message<R::Program>>) {
        let reason = loop {
            match self.receive(inbox) {
                Next::End => break "the engine is shutting down",
                Next::GoOn => {}
            }
            if let Health::Broken = self.step() {
                // A thread that went on would fail every request at once, and so
                // attract them all. The process ends with it and is started anew.
                tracing::error!("the device failed; its thread ends");
                break "the device failed and the engine is started anew";
            }
        };
        for slot in self.slots.values_mut() {
            match slot {
                Slot::Ready { batcher, share: _ } => batcher.abort(reason),
                Slot::Loading { abort, .. } => abort.set(),
            }
        }
    }

    /// One step of the model whose turn it is.
    fn step(&mut self) -> Health {
        let Self { slots, shares, seen, .. } = self;
        let ready = slots.iter_mut().filter_map(|(id, slot)| match slot {
            Slot::Ready { batcher, share } => Some((id, batcher, share)),
            Slot::Loading { .. } => None,
        });
        let mut ready = ready.collect::<Vec<_>>();
        let models = ready.iter_mut().map(|(_, batcher, share)| (!batcher.is_idle(), &mut **share));
        let Some((id, batcher, share)) = shares.next(models).and_then(|next| ready.get_mut(next)) else {
            return Health::Sound;
        };
        let clock = Since(Instant::now());
        seen.heart.begin(batcher.tokens_ahead(), clock.0);
        let health = batcher.step(&clock);
        let took = clock.now();
        seen.heart.end(clock.0 + took);
        share.took(took);
        seen.board.set(id, batcher.stats());
        health
    }

    /// Takes what is there; waits for it if there is nothing to step.
    fn receive(&mut self, inbox: &Receiver<Message<R::Program>>) -> Next {
        let idle = self.slots.values().all(|slot| match slot {
            Slot::Ready { batcher, share: _ } => batcher.is_idle(),
            Slot::Loading { .. } => true,
        });
        if idle {
            match inbox.recv() {
                Ok(message) => {
                    if let Next::End = self.handle(message) {
                        return Next::End;
                    }
                }
                Err(RecvError) => return Next::End,
            }
        }
        loop {
            match inbox.try_recv() {
                Ok(message) => {
                    if let Next::End = self.handle(message) {
                        return Next::End;
                    }
                }
                Err(TryRecvError::Empty) => return Next::GoOn,
                Err(TryRecvError::Disconnected) => return Next::End,
            }
        }
    }

    fn handle(&mut self, message: Message<R::Program>) -> Next {
        match message {
            Message::Order(Order::Load { spec, listener, cancelled }) => self.load(spec, listener, cancelled),
            Message::Order(Order::Unload { id, done }) => self.unload(&id, done),
            Message::Order(Order::Generate { id, job }) => self.generate(id, job),
            Message::Order(Order::Shutdown) => return Next::End,
            Message::Built(built) => self.built(*built),
        }
        Next::GoOn
    }

    fn load(&mut self, spec: LoadSpec, listener: Listener, cancelled: Cancelled) {
        match self.slots.entry(spec.id.clone()) {
            Entry::Occupied(taken) => listener.fail(LoadError::AlreadyLoaded { id: taken.key().clone() }),
            Entry::Vacant(free) => {
                let work = Build::new(spec, listener, cancelled);
                let abort = work.abort();
                match build(Arc::clone(&self.runtime), work, self.messages.clone()) {
                    Ok(()) => {
                        free.insert(Slot::Loading { abort, waiting: Vec::new() });
                    }
                    // The listener went with the closure, and has said so.
                    Err(error) => tracing::error!(%error, "no thread to load a model with"),
                }
            }
        }
    }

    fn built(&mut self, built: BuiltModel<R::Program>) {
        let BuiltModel { spec, mut listener, cancelled, result } = built;
        let Some(Slot::Loading { abort, waiting }) = self.slots.remove(&spec.id) else {
            // A loading slot goes nowhere else, so this one was never made.
            return listener.fail(LoadError::Internal { message: format!("`{}` was not loading", spec.id) });
        };
        let unwanted = abort.is_set() || cancelled.is_cancelled();
        let warmed = match result {
            Ok(loaded) if unwanted => {
                // Its memory is back before anybody hears of it.
                drop(loaded);
                Err(LoadError::Cancelled)
            }
            Ok(loaded) => slot::warm(loaded, &mut listener),
            Err(_) if unwanted => Err(LoadError::Cancelled),
            Err(error) => Err(error),
        };
        match warmed {
            Ok(Loaded { program, text, measured }) => {
                let text = Arc::new(text);
                let batcher = Batcher::new(program, Arc::clone(&text), Limits::of(spec.sequences));
                self.shelve(&spec.id, Some(text));
                self.seen.board.set(&spec.id, batcher.stats());
                self.slots.insert(spec.id, Slot::Ready { batcher, share: Share::default() });
                listener.loaded(measured);
            }
            Err(error) => listener.fail(error),
        }
        for done in waiting {
            done(Ok(()));
        }
    }

    fn unload(&mut self, id: &str, done: Done) {
        match self.slots.get_mut(id) {
            None => done(Err(UnknownModel { id: id.into() })),
            Some(Slot::Loading { abort, waiting }) => {
                abort.set();
                waiting.push(done);
            }
            Some(Slot::Ready { .. }) => {
                self.shelve(id, None);
                self.seen.board.remove(id);
                // Dropping the batcher aborts its requests and frees the program.
                self.slots.remove(id);
                done(Ok(()));
            }
        }
    }

    fn generate(&mut self, id: String, job: Job) {
        match self.slots.get_mut(&id) {
            Some(Slot::Ready { batcher, share: _ }) => batcher.submit(job),
            // It was unloaded after its prompt was read.
            Some(Slot::Loading { .. }) | None => job.outlet.fail(RequestError::UnknownModel { id }),
        }
    }

    fn shelve(&self, id: &str, text: Option<Arc<hearth_text::TextModel>>) {
        let mut library = self.texts.write().unwrap_or_else(PoisonError::into_inner);
        match text {
            Some(text) => library.insert(id.into(), Arc::new(Reader::new(text))),
            None => library.remove(id),
        };
    }
}
