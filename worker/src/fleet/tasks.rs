//! Tasks that nobody may lose sight of.

use std::collections::HashMap;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};

use super::event::Event;

/// What a task's death means.
pub(super) enum Death {
    /// The same as this.
    Means(Event),
    /// Nothing: what it did ends some other way.
    Nothing,
    /// That this worker cannot go on.
    Fatal(&'static str),
}

/// All tasks of the fleet, each with what its death would mean.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    deaths: HashMap<Id, Death>,
}

impl Tasks {
    pub(super) fn spawn(
        &mut self,
        death: Death,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let handle = self.set.spawn(work);
        self.deaths.insert(handle.id(), death);
        handle
    }

    /// Waits for the end of one; what its death means, if that is what it was.
    /// `None` if there is none to wait for.
    pub(super) async fn next(&mut self) -> Option<Death> {
        let ended = self.set.join_next_with_id().await?;
        let id = match &ended {
            Ok((id, ())) => *id,
            Err(e) => e.id(),
        };
        let death = self.deaths.remove(&id).unwrap_or(Death::Nothing);
        Some(judge(ended, death))
    }

    /// Ends all of them.
    pub(super) async fn shutdown(&mut self) {
        self.set.shutdown().await;
    }
}

fn judge(ended: Result<(Id, ()), JoinError>, death: Death) -> Death {
    match (ended, death) {
        // Such a task has no end of its own.
        (Ok(_), fatal @ Death::Fatal(_)) => fatal,
        (Ok(_), _) => Death::Nothing,
        // Its work was no longer wanted.
        (Err(e), _) if e.is_cancelled() => Death::Nothing,
        (Err(error), death) => {
            tracing::error!(%error, "a task died");
            death
        }
    }
}
