//! Hands replicas to requests: at once where one is free, else in the order of arrival as soon
//! as one is.
//!
//! Everything that can make a replica available calls [`Dispatch::settle`]: new routes, a
//! returned [`Permit`], a pause that is over. So a waiting request is woken by the event that
//! lets it go on, and by nothing else.

mod permit;
#[cfg(test)]
mod tests;
mod ticket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

pub use self::{
    permit::Permit,
    ticket::{Spot, Ticket},
};
use super::{
    balance::{Demand, Load, Slot},
    queue::{Place, Queues},
    refusal::Refusal,
    routes::{
        Route, Routes,
        facts::{Fault, Standing},
    },
};

/// Where requests and replicas meet.
#[derive(Debug)]
pub struct Dispatch {
    state: Mutex<State>,
    routes: watch::Sender<Arc<Routes>>,
    max_waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    load: Load,
    queues: Queues<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    demand: Demand,
    reply: oneshot::Sender<Answer>,
}

type Answer = Result<Permit, Refusal>;
/// Answers are sent after the lock is gone: one that nobody takes drops its permit, and that
/// needs the lock.
type Letters = Vec<(oneshot::Sender<Answer>, Answer)>;

impl Dispatch {
    /// Without any route; at most `max_waiting` requests wait for one name.
    pub fn new(max_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            routes: watch::Sender::new(Arc::new(Routes::default())),
            max_waiting,
        })
    }

    /// The routes in force.
    pub fn routes(&self) -> Arc<Routes> {
        self.routes.borrow().clone()
    }

    /// Tells of each change of the routes.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Routes>> {
        self.routes.subscribe()
    }

    /// Puts other routes in force and serves whoever can be served by them.
    pub fn set_routes(self: &Arc<Self>, routes: Arc<Routes>) {
        self.routes.send_replace(routes.clone());
        let names = {
            let mut state = self.lock();
            state.load.retain(|worker| {
                routes.iter().any(|(_, route)| route.replicas.iter().any(|replica| replica.worker == worker))
            });
            state.queues.names()
        };
        for name in names {
            self.settle(&name);
        }
    }

    /// The route of a name that a request asks for.
    ///
    /// # Errors
    /// When there is none, or when the model will not be ready however long one waits.
    pub fn route(&self, name: &str) -> Result<Arc<Route>, Refusal> {
        let routes = self.routes();
        let Some(route) = routes.get(name) else {
            if !routes.is_synced() {
                return Err(Refusal::Starting);
            }
            let known = routes.iter().map(|(name, _)| name.to_owned()).collect();
            return Err(Refusal::UnknownModel { name: name.to_owned(), known });
        };
        match &route.standing {
            Standing::Failed(fault) if !route.is_ready() => Err(refuse(name, fault)),
            Standing::Failed(_) | Standing::Pending(_) | Standing::Loading(_) => Ok(route.clone()),
        }
    }

    /// Lines a request up for a replica of `name`.
    ///
    /// # Errors
    /// As [`Dispatch::route`], and when too many wait already.
    pub fn enter(self: &Arc<Self>, name: &str, demand: Demand) -> Result<Ticket, Refusal> {
        self.route(name)?;
        let place = self.lock().queues.place();
        let mut ticket = self.line_up(name, place, demand);
        let mut state = self.lock();
        // Whoever was served at once is no longer in the queue and does not count.
        let waiting = state.queues.len(name);
        if waiting > self.max_waiting && state.queues.leave(name, place).is_some() {
            drop(state);
            ticket.reply.close();
            return Err(Refusal::QueueFull { name: name.to_owned(), waiting: waiting - 1 });
        }
        drop(state);
        Ok(ticket)
    }

    fn line_up(self: &Arc<Self>, name: &str, place: Place, demand: Demand) -> Ticket {
        let (reply, receiver) = oneshot::channel();
        self.lock().queues.enter(name, place, Waiter { demand, reply });
        self.settle(name);
        Ticket { spot: Spot { dispatch: self.clone(), name: name.into(), place, demand }, reply: receiver }
    }

    /// Serves whoever waits for `name` and can be served now.
    fn settle(self: &Arc<Self>, name: &str) {
        let letters = match self.route(name) {
            Ok(route) => self.grant(name, &route),
            Err(refusal) => self
                .lock()
                .queues
                .leave_all(name)
                .into_iter()
                .map(|waiter| (waiter.reply, Err(refusal.clone())))
                .collect(),
        };
        for (reply, answer) in letters {
            // A request that went away meanwhile gives its permit back by dropping it.
            let _ = reply.send(answer);
        }
    }

    fn grant(self: &Arc<Self>, name: &str, route: &Route) -> Letters {
        let now = Instant::now();
        let mut state = self.lock();
        let State { load, queues } = &mut *state;
        let mut full = false;
        let served = queues.serve(name, |place, waiter| {
            // Nobody who needs a sequence overtakes another; a call that needs none may.
            if full && waiter.demand.sequence {
                return None;
            }
            let Ok(replica) = load.pick(route, waiter.demand, now) else {
                full |= waiter.demand.sequence;
                return None;
            };
            let (slot, replica) = (Slot::of(replica), replica.clone());
            load.take(&slot, waiter.demand);
            Some((place, slot, replica))
        });
        served
            .into_iter()
            .map(|(Waiter { demand, reply }, (place, slot, replica))| {
                let permit =
                    Permit { dispatch: self.clone(), name: name.into(), place, slot, replica, demand };
                (reply, Ok(permit))
            })
            .collect()
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refuse(name: &str, fault: &Fault) -> Refusal {
    let name = name.to_owned();
    match fault {
        Fault::Rejected(message) => Refusal::Rejected { name, message: message.clone() },
        Fault::Unplaceable(message) => Refusal::Unplaceable { name, message: message.clone() },
    }
}
