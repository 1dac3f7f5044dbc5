//! The way to the fleet's task.

use std::sync::Arc;

use hearth_proto::worker::v1::WatchResponse;
use hearth_source::Blob;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::transport::Channel;

use super::event::{Event, Try};
use super::route::Routes;
use crate::convert::StoreUse;
use crate::host::Reading;
use crate::intent::{Intent, IntentError};
use crate::spec::Fence;

/// Why a set was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A later plan is in force.
    #[error("the set {new} is older than the one in force, {applied}")]
    Older {
        /// What was sent.
        new: Fence,
        /// What is in force.
        applied: Fence,
    },
    /// Another set came with the same fence before.
    #[error("another set is in force with the same fence {0}; a changed set needs a later generation")]
    Conflict(Fence),
    /// It would not survive a restart, so it is not taken.
    #[error("the set cannot be kept")]
    NotKept(#[from] IntentError),
    /// The process is about to end.
    #[error("this worker is going")]
    Leaving,
}

/// Something for the fleet's task.
pub(super) enum Message {
    Apply(Intent, oneshot::Sender<Result<Fence, ApplyError>>),
    Event(Event),
    EngineUp { device: String, channel: Channel },
    Fetched(Try, Blob),
    Readings(Vec<Reading>),
    StoreUse(StoreUse),
    Ping(oneshot::Sender<()>),
    Stop(oneshot::Sender<()>),
}

/// The way to reach a fleet. Clones reach the same.
#[derive(Clone)]
pub struct FleetHandle {
    pub(super) messages: mpsc::UnboundedSender<Message>,
    pub(super) told: watch::Receiver<Arc<WatchResponse>>,
    pub(super) routes: watch::Receiver<Arc<Routes>>,
}

impl FleetHandle {
    /// Puts a set in force. When this returns it would survive a restart.
    ///
    /// # Errors
    /// When it is older than what is in force, or cannot be kept.
    pub async fn apply(&self, intent: Intent) -> Result<Fence, ApplyError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.messages.send(Message::Apply(intent, reply));
        if sent.is_err() {
            return Err(ApplyError::Leaving);
        }
        answer.await.unwrap_or(Err(ApplyError::Leaving))
    }

    /// The whole state, and each change of it.
    pub fn watch(&self) -> watch::Receiver<Arc<WatchResponse>> {
        self.told.clone()
    }

    /// Where requests go now.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.borrow().clone()
    }

    /// Returns whether the fleet's task answers.
    pub async fn is_alive(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.messages.send(Message::Ping(reply)).is_ok() && answer.await.is_ok()
    }

    /// Begins nothing new from now on.
    pub fn leave(&self) {
        let _ = self.messages.send(Message::Event(Event::Leaving));
    }

    /// Ends all engine processes and the fleet's task.
    pub async fn stop(&self) {
        let (reply, done) = oneshot::channel();
        if self.messages.send(Message::Stop(reply)).is_ok() {
            let _ = done.await;
        }
    }
}
