//! A replica that a request holds.

use std::{fmt, sync::Arc};

use tokio::time::Instant;

use super::{Dispatch, Ticket};
use crate::gateway::{
    balance::{Demand, Scope, Slot},
    queue::Place,
    routes::Replica,
};

/// A replica, lent to one request. Dropping it gives it back.
pub struct Permit {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) name: Arc<str>,
    pub(super) place: Place,
    pub(super) slot: Slot,
    pub(super) replica: Replica,
    pub(super) demand: Demand,
}

impl Permit {
    /// The replica to send the request to.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The replica has begun to answer: earlier failures are forgotten.
    pub fn answered(&self) {
        self.dispatch.lock().load.answered(&self.slot);
    }

    /// The replica did not take the request: passes it over for a moment and lines the request
    /// up again where it stood.
    pub fn failed(self, scope: Scope) -> Ticket {
        let until = self.dispatch.lock().load.pause(&self.slot, scope, Instant::now());
        let (dispatch, name, place, demand) =
            (self.dispatch.clone(), self.name.clone(), self.place, self.demand);
        drop(self);
        // Ends by itself with the pause, and keeps nothing alive.
        let weak = Arc::downgrade(&dispatch);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            if let Some(dispatch) = weak.upgrade() {
                let names = dispatch.lock().queues.names();
                names.iter().for_each(|name| dispatch.settle(name));
            }
        });
        dispatch.line_up(&name, place, demand)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.dispatch.lock().load.release(&self.slot, self.demand);
        self.dispatch.settle(&self.name);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("slot", &self.slot)
            .field("demand", &self.demand)
            .finish_non_exhaustive()
    }
}
