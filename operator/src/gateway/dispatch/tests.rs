//! Who gets a replica, and when.

use std::time::Duration;

use futures::FutureExt as _;

use super::*;
use crate::gateway::balance::Scope;
use crate::gateway::routes::{
    facts::{ModelFact, ModelKey, Progress, ReplicaFact, WorkerFact},
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
                    id: format!("uid-{worker}"),
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
