//! Links against a worker that is made up, over real TLS.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use hearth_proto::worker::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use hearth_proto::worker::v1::{ApplyRequest, ApplyResponse, Fence, Replica, WatchRequest, WatchResponse};
use hearth_tls::testing::TestCa;
use hearth_tls::{Identity, Incoming, Live};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status};

use super::link::LinkState;
use super::links::Links;
use crate::controller::trigger::Trigger;

#[derive(Clone)]
struct FakeWorker {
    state: watch::Sender<WatchResponse>,
    applied: Arc<Mutex<Vec<ApplyRequest>>>,
    /// While true, it does not answer.
    away: watch::Sender<bool>,
    /// Answers to the next calls of `apply`; OK when there are none.
    refusals: Arc<Mutex<Vec<Status>>>,
}

#[tonic::async_trait]
impl WorkerService for FakeWorker {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn apply(&self, request: Request<ApplyRequest>) -> Result<Response<ApplyResponse>, Status> {
        if let Some(status) = self.refusals.lock().unwrap().pop() {
            return Err(status);
        }
        let request = request.into_inner();
        let applied = request.fence;
        self.applied.lock().unwrap().push(request);
        self.state.send_modify(|state| state.applied = applied);
        Ok(Response::new(ApplyResponse { applied }))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut away = self.away.subscribe();
        if *away.borrow_and_update() {
            return Err(Status::unavailable("away"));
        }
        let leaving = async move { away.changed().await };
        Ok(Response::new(Box::pin(
            WatchStream::new(self.state.subscribe()).map(Ok).take_until(Box::pin(leaving)),
        )))
    }
}

struct Scene {
    ca: TestCa,
    fake: FakeWorker,
    links: Links,
    trigger: Trigger,
}

impl Scene {
    fn new() -> Self {
        let ca = TestCa::new();
        let fake = FakeWorker {
            state: watch::channel(WatchResponse { version: "1".to_owned(), ..WatchResponse::default() }).0,
            applied: Arc::default(),
            away: watch::channel(false).0,
            refusals: Arc::default(),
        };
        let trigger = Trigger::default();
        let live = Live::new(ca.credentials(&Identity::Controller));
        Self { ca, fake, links: Links::new(live, trigger.clone()), trigger }
    }

    /// Serves the worker under a name until the guard is dropped.
    async fn serve(&self, name: &str, address: &str) -> (String, DropGuard) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let live = Live::new(self.ca.credentials(&Identity::worker(name).unwrap()));
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(WorkerServiceServer::new(self.fake.clone()))
            .serve_with_incoming(Incoming::new(listener, live));
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = server => {}
                () = stopped.cancelled() => {}
            }
        });
        (address, stop.drop_guard())
    }

    fn follow(&mut self, address: &str) {
        let addresses = BTreeMap::from([("box".to_owned(), address.to_owned())]);
        self.links.follow(&addresses, Instant::now());
    }

    /// Until what is known of the worker fits.
    async fn until(&self, what: &str, fits: impl Fn(&Self) -> bool) {
        // A trigger may come just before what it tells of: look again now and then.
        for _ in 0..100 {
            if fits(self) {
                return;
            }
            let _ = tokio::time::timeout(Duration::from_millis(50), self.trigger.pulled()).await;
        }
        panic!("in vain: {what}; {:?}", self.links.states(1));
    }

    fn is_up(&self) -> bool {
        self.links.states(1).get("box").is_some_and(|state| state.up)
    }

    fn applied(&self) -> Vec<u64> {
        let applied = self.fake.applied.lock().unwrap();
        applied.iter().map(|request| request.fence.unwrap().generation).collect()
    }
}

fn intent(generation: u64) -> ApplyRequest {
    let replica = Replica { id: "m-0".to_owned(), ..Replica::default() };
    ApplyRequest { fence: Some(Fence { epoch: 1, generation }), replicas: vec![replica] }
}

#[tokio::test]
async fn an_intent_is_handed_over_once_and_again_after_the_worker_was_away() {
    let mut scene = Scene::new();
    let (address, _guard) = scene.serve("box", "127.0.0.1:0").await;
    scene.follow(&address);
    scene.until("up", Scene::is_up).await;
    scene.links.intend("box", intent(1));
    scene.links.intend("box", intent(1));
    scene.until("applied", |s| s.applied() == [1]).await;
    scene.fake.away.send_replace(true);
    scene.until("down", |s| !s.is_up()).await;
    let state = scene.links.states(1)["box"].clone();
    assert!(state.error.is_some() && state.last.is_some(), "what it told last is remembered");
    scene.fake.away.send_replace(false);
    scene.until("applied again", |s| s.is_up() && s.applied() == [1, 1]).await;
}

#[tokio::test]
async fn a_refused_intent_is_tried_again_and_a_newer_leader_is_noticed() {
    let mut scene = Scene::new();
    let (address, _guard) = scene.serve("box", "127.0.0.1:0").await;
    scene.fake.state.send_modify(|state| state.applied = Some(Fence { epoch: 9, generation: 4 }));
    scene
        .fake
        .refusals
        .lock()
        .unwrap()
        .extend([Status::internal("the disk is full"), Status::failed_precondition("epoch 9 is in force")]);
    scene.follow(&address);
    scene.links.intend("box", intent(2));
    scene.until("outbid", |s| s.links.states(1)["box"].outbid.is_some_and(|fence| fence.epoch == 9)).await;
    scene.until("applied", |s| s.applied() == [2]).await;
}

#[tokio::test]
async fn another_process_at_the_address_is_not_taken_for_the_worker() {
    let mut scene = Scene::new();
    let (address, _guard) = scene.serve("attic", "127.0.0.1:0").await;
    scene.follow(&address);
    scene.until("refused", |s| s.links.states(1)["box"].error.is_some()).await;
    assert!(!scene.is_up());
    scene.links.follow(&BTreeMap::new(), Instant::now());
    assert!(scene.links.states(1).is_empty());
}

#[test]
fn an_epoch_is_outbid_if_it_is_greater_or_if_we_were_refused_with_the_same() {
    let fence = |epoch| Fence { epoch, generation: 4 };
    let applied = |epoch| {
        let told = WatchResponse { applied: Some(fence(epoch)), ..WatchResponse::default() };
        LinkState { last: Some(Arc::new(told)), ..LinkState::new(Instant::now()) }
    };
    assert_eq!(applied(5).outbids(5), None, "most likely it is our own");
    assert_eq!(applied(6).outbids(5), Some(6));
    let refused = LinkState { outbid: Some(fence(5)), ..applied(5) };
    assert_eq!((refused.outbids(5), refused.outbids(6)), (Some(5), None));
    let absurd = applied(u64::MAX);
    assert_eq!(absurd.outbids(5), None, "nobody can lead after that");
    let refused = LinkState { outbid: Some(fence(6)), ..absurd };
    assert_eq!(refused.outbids(5), Some(6));
}

#[test]
fn a_worker_with_an_epoch_that_cannot_be_is_not_believed() {
    let told =
        |epoch| WatchResponse { applied: Some(Fence { epoch, generation: 1 }), ..WatchResponse::default() };
    let link =
        |epoch| LinkState { up: true, last: Some(Arc::new(told(epoch))), ..LinkState::new(Instant::now()) };
    assert!(link(6).believed(5).up && link(4).believed(5).up);
    let absurd = link(u64::MAX).believed(5);
    assert!(!absurd.up && absurd.error.as_deref().unwrap().contains(&u64::MAX.to_string()));
    let refused = LinkState { outbid: Some(Fence { epoch: u64::MAX, generation: 1 }), ..link(5) };
    assert!(!refused.believed(5).up);
}
