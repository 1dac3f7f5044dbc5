//! What wakes the reconcile loop.

use std::sync::Arc;

use tokio::sync::Notify;

/// Tells the loop that something changed. Many tellings before the loop looks
/// are one.
#[derive(Debug, Clone, Default)]
pub struct Trigger(Arc<Notify>);

impl Trigger {
    /// Something changed.
    pub fn pull(&self) {
        self.0.notify_one();
    }

    /// Until something changed since the last call.
    pub async fn pulled(&self) {
        self.0.notified().await;
    }
}
