//! A request's place in the queue.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use super::{Answer, Dispatch, Permit};
use crate::gateway::{
    balance::{Blocked, Demand},
    queue::Place,
    refusal::Refusal,
    routes::facts::{Progress, Standing},
};

/// A place in the queue. Dropping it leaves the queue.
#[derive(Debug)]
pub struct Ticket {
    pub(super) spot: Spot,
    pub(super) reply: oneshot::Receiver<Answer>,
}

/// Where a request stands, to look out from while it waits.
#[derive(Clone, Debug)]
pub struct Spot {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) demand: Demand,
}

impl Ticket {
    /// Waits for a replica. Cancel safe.
    ///
    /// # Errors
    /// When the model is deleted or will not become ready.
    pub async fn granted(&mut self) -> Result<Permit, Refusal> {
        // The sender lives in the queue until it is used, and the queue as long as the dispatch.
        (&mut self.reply).await.unwrap_or(Err(Refusal::Stopping))
    }

    /// Where the request stands.
    pub fn spot(&self) -> Spot {
        self.spot.clone()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Spot { dispatch, name, place, demand: _ } = &self.spot;
        let left = dispatch.lock().queues.leave(name, *place);
        drop(left);
    }
}

impl Spot {
    /// What the request waits for.
    pub fn progress(&self) -> Progress {
        let route = match self.dispatch.route(&self.name) {
            Ok(route) => route,
            Err(refusal) => return Progress::saying(refusal.to_string()),
        };
        let state = self.dispatch.lock();
        let blocked = state.load.pick(&route, self.demand, Instant::now()).err().unwrap_or(Blocked::Busy);
        let ahead = state.queues.ahead(&self.name, self.place);
        drop(state);
        match (blocked, &route.standing) {
            (Blocked::None, Standing::Pending(progress) | Standing::Loading(progress)) => progress.clone(),
            (Blocked::None, Standing::Failed(fault)) => Progress::saying(fault.message()),
            (Blocked::Busy, _) => {
                Progress::saying(format!("every replica is busy; requests ahead of this one: {ahead}"))
            }
            (Blocked::Pausing, _) => Progress::saying("no replica answers; trying again in a moment"),
        }
    }
}
