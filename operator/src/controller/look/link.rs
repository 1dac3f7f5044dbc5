//! The controller's connection to one worker: what it tells, what it is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, OptionFuture};
use hearth_proto::worker::v1::worker_service_client::WorkerServiceClient;
use hearth_proto::worker::v1::{ApplyRequest, Fence, WatchRequest, WatchResponse};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tracing::{debug, info, warn};

use super::super::trigger::Trigger;

/// Longer than any answer should take, shorter than a person's patience.
const CALL: Duration = Duration::from_secs(5);
/// Between two tries to reach a worker, or to hand it an intent: a worker that
/// starts is met within a second.
const RETRY: Duration = Duration::from_millis(500);
/// An epoch grows by one with each leader, so that none is this far from another. The
/// word of one worker must not use them up for all.
const FARTHEST: u64 = 1 << 32;

/// What is known of a worker through its link.
#[derive(Debug, Clone)]
pub struct LinkState {
    /// Since when `up` is what it is.
    pub since: Instant,
    /// Whether the worker answers.
    pub up: bool,
    /// Why it does not.
    pub error: Option<Arc<str>>,
    /// What it told last, in this connection or an earlier one.
    pub last: Option<Arc<WatchResponse>>,
    /// A fence of another leader, newer than ours, that the worker holds to.
    pub outbid: Option<Fence>,
}

impl LinkState {
    /// A link that was not tried yet.
    pub fn new(now: Instant) -> Self {
        Self { since: now, up: false, error: None, last: None, outbid: None }
    }

    /// The link as a leader of `epoch` takes it: a worker that claims to hold to an
    /// epoch that no leader can have had can be told nothing, and is not believed.
    pub fn believed(self, epoch: u64) -> Self {
        let applied = self.last.as_ref().and_then(|last| last.applied);
        let claims = [applied, self.outbid].into_iter().flatten().map(|fence| fence.epoch);
        match claims.max().filter(|claim| claim.saturating_sub(epoch) > FARTHEST) {
            None => self,
            Some(claim) => {
                let why = format!(
                    "it claims to hold to a leader of epoch {claim}, which cannot have been: the present one \
                     is {epoch}; delete the Worker, and its store with it, to begin anew"
                );
                Self { up: false, error: Some(why.into()), outbid: None, ..self }
            }
        }
    }

    /// The epoch of another leader that the worker holds to rather than to one who
    /// leads in `epoch`. A worker that refused us does so also with our own epoch,
    /// if two leaders came to have the same.
    pub fn outbids(&self, epoch: u64) -> Option<u64> {
        let can_be = |known: &u64| known.saturating_sub(epoch) <= FARTHEST;
        let refused = self.outbid.map(|fence| fence.epoch).filter(|known| *known >= epoch);
        let applied = self.last.as_ref().and_then(|last| last.applied).map(|fence| fence.epoch);
        let newer = applied.filter(|known| *known > epoch);
        refused.into_iter().chain(newer).filter(can_be).max()
    }
}

/// Whom a task speaks to, and through which channels its owner hears of it.
pub(super) struct Link {
    pub worker: String,
    pub channel: Channel,
    pub intent: watch::Receiver<Option<ApplyRequest>>,
    pub state: watch::Sender<LinkState>,
    pub trigger: Trigger,
}

#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("the worker does not answer")]
    Silent,
    #[error("the worker ended the stream")]
    Ended,
    #[error("{}", describe(.0))]
    Status(Status),
}

impl Link {
    /// Keeps a session with the worker for as long as it is polled.
    pub(super) async fn run(mut self) {
        loop {
            let error = self.session().await;
            let text: Arc<str> = error.to_string().into();
            let news = self.state.send_if_modified(|state| {
                let news = state.up || state.error.as_deref() != Some(&*text);
                if state.up {
                    state.since = Instant::now();
                }
                state.up = false;
                state.error = Some(text.clone());
                news
            });
            if news {
                debug!(worker = self.worker, error = %text, "the link is down");
                self.trigger.pull();
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// One stream, until it breaks.
    async fn session(&mut self) -> SessionError {
        let mut client = WorkerServiceClient::new(self.channel.clone());
        let mut stream = match timeout(CALL, client.watch(WatchRequest {})).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return SessionError::Status(status),
            Err(_) => return SessionError::Silent,
        };
        // What was handed over before may be lost to a worker that restarted
        // without its disk, so every session begins by handing it over again.
        self.intent.mark_changed();
        let mut handing: OptionFuture<BoxFuture<'static, Result<Fence, Status>>> = None.into();
        loop {
            tokio::select! {
                message = stream.message() => match message {
                    Ok(Some(told)) => self.told(told),
                    Ok(None) => return SessionError::Ended,
                    Err(status) => return SessionError::Status(status),
                },
                Some(outcome) = &mut handing => {
                    handing = None.into();
                    if let Err(status) = outcome {
                        self.refused(&status);
                        let changed = self.intent.clone();
                        handing = Some(again(client.clone(), changed).boxed()).into();
                    }
                }
                changed = self.intent.changed() => {
                    // Without a sender the owner is gone, and soon this task.
                    if changed.is_err() { return SessionError::Ended; }
                    let intent = self.intent.borrow_and_update().clone();
                    handing = intent.map(|intent| hand_over(client.clone(), intent).boxed()).into();
                }
            }
        }
    }

    fn told(&self, told: WatchResponse) {
        self.state.send_modify(|state| {
            if !state.up {
                info!(worker = self.worker, version = told.version, "the link is up");
                state.since = Instant::now();
            }
            state.up = true;
            state.error = None;
            state.last = Some(Arc::new(told));
        });
        self.trigger.pull();
    }

    fn refused(&self, status: &Status) {
        if status.code() == Code::FailedPrecondition {
            // The worker's own state says which fence it holds to.
            let applied = self.state.borrow().last.as_ref().and_then(|last| last.applied);
            warn!(worker = self.worker, ?applied, "the worker holds to a newer leader: {}", status.message());
            self.state.send_modify(|state| state.outbid = applied);
            self.trigger.pull();
        } else {
            warn!(worker = self.worker, "the worker did not take its intent: {}", describe(status));
        }
    }
}

async fn hand_over(mut client: WorkerServiceClient<Channel>, intent: ApplyRequest) -> Result<Fence, Status> {
    let fence = intent.fence.unwrap_or_default();
    match timeout(CALL, client.apply(intent)).await {
        Ok(Ok(response)) => Ok(response.into_inner().applied.unwrap_or(fence)),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("the worker did not answer in time")),
    }
}

/// After a while, what the intent is then.
async fn again(
    client: WorkerServiceClient<Channel>,
    intent: watch::Receiver<Option<ApplyRequest>>,
) -> Result<Fence, Status> {
    tokio::time::sleep(RETRY * 2).await;
    let intent = intent.borrow().clone();
    match intent {
        Some(intent) => hand_over(client, intent).await,
        None => Ok(Fence::default()),
    }
}

/// What a status says, with what lies beneath it.
fn describe(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = error.source();
    }
    text
}
