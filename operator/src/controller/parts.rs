//! The background tasks of the process.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::run::ControllerError;

/// The background tasks of the process. Whoever owns them hears when one ends.
pub(super) struct Parts {
    tasks: JoinSet<&'static str>,
    /// Tells all parts to end.
    pub(super) stop: CancellationToken,
}

impl Parts {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop }
    }

    pub(super) fn spawn(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            name
        });
    }

    /// Until a part ends, which none should.
    pub(super) async fn ended(&mut self) -> Result<(), ControllerError> {
        match self.tasks.join_next().await {
            Some(Ok(name)) => Err(ControllerError::Ended(name)),
            Some(Err(_)) => Err(ControllerError::Ended("a part that panicked")),
            None => std::future::pending().await,
        }
    }

    /// Tells all parts to end, and ends those that do not within a moment.
    pub(super) async fn end(mut self) {
        self.stop.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(Duration::from_secs(2), all).await.is_err() {
            info!("some parts did not end by themselves");
        }
    }
}
