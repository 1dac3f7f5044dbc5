//! A model's way onto the device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use crate::api::{Cancelled, Listener, LoadError, LoadSpec, Phase};
use crate::batch::{Batcher, step_caught};
use crate::loader::{self, Loaded, Runtime};
use hearth_program::{Answers, BuildError, PageId, Program, Row, Stage, Watch};

use super::share::Share;
use super::{BuiltModel, Done, Message};

/// What the device thread knows of an id.
#[expect(clippy::large_enum_variant, reason = "there are few of them, and none lies in a long list")]
pub(super) enum Slot<P: Program> {
    /// A thread is building it. Whoever unloads it waits until the thread has let
    /// go of everything.
    Loading {
        abort: Abort,
        waiting: Vec<Done>,
    },
    Ready {
        batcher: Batcher<P>,
        share: Share,
    },
}

/// Says that a load is not wanted any more.
#[derive(Clone, Default)]
pub(super) struct Abort(Arc<AtomicBool>);

impl Abort {
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A load under way: it belongs to its thread until it is built.
pub(super) struct Build {
    spec: LoadSpec,
    listener: Listener,
    cancelled: Cancelled,
    abort: Abort,
}

impl Build {
    pub(super) fn new(spec: LoadSpec, listener: Listener, cancelled: Cancelled) -> Self {
        Self { spec, listener, cancelled, abort: Abort::default() }
    }

    pub(super) fn abort(&self) -> Abort {
        self.abort.clone()
    }
}

impl Watch for Build {
    fn progress(&mut self, done: u64, total: u64) -> Result<(), BuildError> {
        if self.abort.is_set() || self.cancelled.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        self.listener.progress(Phase::Loading, done, total);
        Ok(())
    }
}

/// Builds a model on a thread of its own.
pub(super) fn build<R: Runtime>(
    runtime: Arc<R>,
    mut work: Build,
    messages: Sender<Message<R::Program>>,
) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("hearth-load".into());
    thread.spawn(move || {
        let spec = work.spec.clone();
        let loading = std::panic::AssertUnwindSafe(|| loader::load(&*runtime, &spec, &mut work));
        let result = std::panic::catch_unwind(loading).unwrap_or_else(|_| {
            Err(LoadError::Internal { message: "loading panicked; the log has the place".into() })
        });
        let Build { spec, listener, cancelled, abort: _ } = work;
        // A device thread that has ended drops the message, and the listener in
        // it says so.
        let _ = messages.send(Message::Built(Box::new(BuiltModel { spec, listener, cancelled, result })));
    })?;
    Ok(())
}

/// Runs a prompt and a decode step, so that the first request finds everything
/// that is made on first use, and a model that cannot compute is never ready.
pub(super) fn warm<P: Program>(
    mut loaded: Loaded<P>,
    listener: &mut Listener,
) -> Result<Loaded<P>, LoadError> {
    const TOKENS: [u32; 1] = [0];
    const STAGES: [Stage; 2] = [Stage::Prefill { last: true }, Stage::Decode];
    let tables = loaded.program.pages().groups.iter().map(|_| vec![PageId(0)]).collect::<Vec<_>>();
    let mut answers = Answers::default();
    for (start, stage) in STAGES.into_iter().enumerate() {
        listener.progress(Phase::Warming, start as u64, STAGES.len() as u64);
        let rows = [Row { tables: &tables, start, tokens: &TOKENS, stage }];
        step_caught(&mut loaded.program, &rows, &mut answers)
            .map_err(|fault| LoadError::Internal { message: fault.into_error().message })?;
    }
    listener.progress(Phase::Warming, STAGES.len() as u64, STAGES.len() as u64);
    Ok(loaded)
}
