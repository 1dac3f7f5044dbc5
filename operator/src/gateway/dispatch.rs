//! Hands replicas to requests: at once where one is free, else in the order of arrival as soon
//! as one is.
//!
//! Everything that can make a replica available calls [`Dispatch::settle`]: new routes, a
//! returned [`Permit`], a pause that is over. So a waiting request is woken by the event that
//! lets it go on, and by nothing else.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::{
    balance::{Blocked, Demand, Load, Scope, Slot},
    queue::{Place, Queues},
    refusal::Refusal,
    routes::{
        Replica, Route, Routes,
        facts::{Fault, Progress, Standing},
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
            let (slot, replica) = (Slot::of(&route.key, replica), replica.clone());
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

/// A place in the queue. Dropping it leaves the queue.
#[derive(Debug)]
pub struct Ticket {
    spot: Spot,
    reply: oneshot::Receiver<Answer>,
}

/// Where a request stands, to look out from while it waits.
#[derive(Clone, Debug)]
pub struct Spot {
    dispatch: Arc<Dispatch>,
    name: Arc<str>,
    place: Place,
    demand: Demand,
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

/// A replica, lent to one request. Dropping it gives it back.
pub struct Permit {
    dispatch: Arc<Dispatch>,
    name: Arc<str>,
    place: Place,
    slot: Slot,
    replica: Replica,
    demand: Demand,
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;
    use crate::gateway::routes::{
        facts::{ModelFact, ModelKey, ReplicaFact, WorkerFact},
        index::{Change, Index, Update},
    };

    const ONE: Demand = Demand { sequence: true, tokens: 1 };

    fn routes(workers: &[&str], standing: Standing) -> Arc<Routes> {
        let mut index = Index::default();
        index.apply(Update::Workers(Change::Replace(
            workers
                .iter()
                .map(|name| WorkerFact { name: (*name).into(), address: Some(format!("{name}:9090")) })
                .collect(),
        )));
        index
            .apply(Update::Models(Change::Replace(vec![ModelFact {
                key: ModelKey { namespace: "default".into(), name: "m".into() },
                created: jiff::Timestamp::UNIX_EPOCH,
                served_name: "m".into(),
                context_tokens: 0,
                quantization: String::new(),
                standing,
                ready: workers
                    .iter()
                    .map(|worker| ReplicaFact {
                        worker: (*worker).into(),
                        device: "cpu".into(),
                        sequences: 1,
                    })
                    .collect(),
            }])))
            .unwrap()
    }

    fn pending() -> Standing {
        Standing::Pending(Progress::saying("waiting for a plan"))
    }

    fn with(workers: &[&str]) -> Arc<Dispatch> {
        let dispatch = Dispatch::new(2);
        dispatch.set_routes(routes(workers, pending()));
        dispatch
    }

    #[tokio::test]
    async fn waits_for_a_replica_in_order() {
        let dispatch = with(&[]);
        let mut first = dispatch.enter("m", ONE).unwrap();
        let mut second = dispatch.enter("m", ONE).unwrap();
        assert!(first.granted().now_or_never().is_none());
        assert_eq!(first.spot().progress().message, "waiting for a plan");
        dispatch.set_routes(routes(&["a"], pending()));
        let permit = first.granted().now_or_never().unwrap().unwrap();
        assert!(second.granted().now_or_never().is_none());
        assert_eq!(second.spot().progress().message, "every replica is busy; requests ahead of this one: 0");
        drop(permit);
        assert!(second.granted().now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn the_queue_is_bounded_by_those_who_wait() {
        let dispatch = with(&["a"]);
        let running = dispatch.enter("m", ONE).unwrap();
        let waiting: Vec<Ticket> = (0..2).map(|_| dispatch.enter("m", ONE).unwrap()).collect();
        let refused = dispatch.enter("m", ONE).unwrap_err();
        assert_eq!(refused, Refusal::QueueFull { name: "m".into(), waiting: 2 });
        drop(waiting);
        assert!(dispatch.enter("m", ONE).is_ok());
        drop(running);
    }

    #[tokio::test]
    async fn a_grant_that_nobody_took_goes_to_the_next() {
        let dispatch = with(&["a"]);
        let first = dispatch.enter("m", ONE).unwrap();
        let mut second = dispatch.enter("m", ONE).unwrap();
        // Granted, and dropped with its ticket before it was looked at.
        drop(first);
        assert!(second.granted().now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn one_who_leaves_holds_nobody_up() {
        let dispatch = with(&[]);
        let first = dispatch.enter("m", ONE).unwrap();
        let mut second = dispatch.enter("m", ONE).unwrap();
        drop(first);
        dispatch.set_routes(routes(&["a"], pending()));
        assert!(second.granted().now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_another_replica_is_tried_and_then_the_same_again() {
        let dispatch = with(&["a", "b"]);
        let permit = dispatch.enter("m", ONE).unwrap().granted().await.unwrap();
        let failed = permit.replica().worker.clone();
        let mut ticket = permit.failed(Scope::Worker);
        let other = ticket.granted().now_or_never().unwrap().unwrap();
        assert_ne!(other.replica().worker, failed);
        let mut ticket = other.failed(Scope::Worker);
        assert!(ticket.granted().now_or_never().is_none());
        assert_eq!(ticket.spot().progress().message, "no replica answers; trying again in a moment");
        let began = Instant::now();
        ticket.granted().await.unwrap();
        assert!((Duration::from_millis(250)..Duration::from_millis(260)).contains(&began.elapsed()));
    }

    #[tokio::test]
    async fn a_request_that_comes_back_stands_where_it_stood() {
        let dispatch = with(&["a"]);
        let permit = dispatch.enter("m", ONE).unwrap().granted().await.unwrap();
        let mut later = dispatch.enter("m", ONE).unwrap();
        let mut back = permit.failed(Scope::Replica);
        dispatch.set_routes(routes(&["b"], pending()));
        assert!(back.granted().now_or_never().unwrap().is_ok());
        assert!(later.granted().now_or_never().is_some(), "the permit was dropped");
    }

    #[tokio::test]
    async fn what_cannot_become_ready_fails_those_who_wait() {
        let dispatch = with(&[]);
        let mut ticket = dispatch.enter("m", ONE).unwrap();
        let fault = Fault::Rejected("spec.context.min is over spec.context.max".into());
        dispatch.set_routes(routes(&[], Standing::Failed(fault.clone())));
        let expected = refuse("m", &fault);
        assert_eq!(ticket.granted().now_or_never().unwrap().unwrap_err(), expected);
        assert_eq!(dispatch.enter("m", ONE).unwrap_err(), expected);
        // A bad edit does not stop the replicas that run.
        dispatch.set_routes(routes(&["a"], Standing::Failed(fault)));
        assert!(dispatch.enter("m", ONE).is_ok());
    }

    #[tokio::test]
    async fn unknown_names() {
        assert_eq!(Dispatch::new(1).enter("m", ONE).unwrap_err(), Refusal::Starting);
        let refusal = with(&[]).enter("x", ONE).unwrap_err();
        assert_eq!(refusal, Refusal::UnknownModel { name: "x".into(), known: vec!["m".into()] });
    }
}
