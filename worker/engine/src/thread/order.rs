//! What the device thread is told.

use crate::api::{Cancelled, Listener, LoadError, LoadSpec, RequestError, UnknownModel};
use crate::batch::Job;
use crate::loader::Loaded;
use hearth_program::Program;

/// Called once an unload is through.
pub(crate) type Done = Box<dyn FnOnce(Result<(), UnknownModel>) + Send>;

/// What handles ask for.
#[expect(clippy::large_enum_variant, reason = "there are few of them, and none lies in a long list")]
pub(crate) enum Order {
    Load { spec: LoadSpec, listener: Listener, cancelled: Cancelled },
    Unload { id: String, done: Done },
    Generate { id: String, job: Job },
    Shutdown,
}

/// What arrives at the device thread.
#[expect(clippy::large_enum_variant, reason = "there are few of them, and none lies in a long list")]
pub(crate) enum Message<P: Program> {
    Order(Order),
    /// A loading thread is through.
    Built(Box<BuiltModel<P>>),
}

/// What a loading thread was asked for, and what came of it.
pub(crate) struct BuiltModel<P: Program> {
    pub(crate) spec: LoadSpec,
    pub(crate) listener: Listener,
    pub(crate) cancelled: Cancelled,
    pub(crate) result: Result<Loaded<P>, LoadError>,
}

pub(crate) const ENDED: &str = "the engine's thread has ended; the process has to be started again";

impl Order {
    /// Answers in place of a thread that has ended.
    pub(crate) fn refuse(self) {
        match self {
            Order::Load { listener, .. } => listener.fail(LoadError::Internal { message: ENDED.into() }),
            // With the thread went every model.
            Order::Unload { id, done } => done(Err(UnknownModel { id })),
            Order::Generate { job, .. } => job.outlet.fail(RequestError::Aborted { reason: ENDED.into() }),
            Order::Shutdown => {}
        }
    }
}
