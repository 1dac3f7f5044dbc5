//! Leader election: the task that drives [`election`] against a Lease.

mod election;
mod lease;
#[cfg(test)]
mod tests;

use std::time::Instant;

use hearth_api::meta::CONTROLLER_LEASE;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use election::Timing;
use election::{Claim, Election};

/// Who stands for election, and what the Lease tells of them.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Unique among candidates: the Pod's name.
    pub identity: String,
    /// `address:port` of the control server.
    pub address: String,
    /// Where the Lease lies.
    pub namespace: String,
    /// What the Lease is removed with.
    pub owner: OwnerReference,
}

/// The other end of the election's task.
#[derive(Debug, Clone)]
pub struct Leadership {
    epoch: watch::Receiver<Option<u64>>,
    outbid: mpsc::UnboundedSender<u64>,
}

impl Leadership {
    /// The epoch in which this process leads; `None`: it does not.
    pub fn epoch(&self) -> Option<u64> {
        *self.epoch.borrow()
    }

    /// The epoch, as it changes.
    pub fn watch(&self) -> watch::Receiver<Option<u64>> {
        self.epoch.clone()
    }

    /// A worker knows `epoch`: the next renewal takes a greater one.
    pub fn outbid(&self, epoch: u64) {
        // Without a receiver the election is over, and with it the leadership.
        let _ = self.outbid.send(epoch);
    }

    /// A leadership that changes when a test says so.
    #[cfg(test)]
    pub fn scripted(epoch: Option<u64>) -> (watch::Sender<Option<u64>>, Self) {
        let (sender, epoch) = watch::channel(epoch);
        (sender, Self { epoch, outbid: mpsc::unbounded_channel().0 })
    }
}

/// The Lease could not be read or written.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    #[error("reading the Lease")]
    Read(#[source] kube::Error),
    #[error("writing the Lease")]
    Write(#[source] kube::Error),
    #[error("the API server did not answer within {0:?}")]
    Timeout(std::time::Duration),
}

/// Stands for election until `stop`, then gives the Lease back. The task that
/// runs the returned future owns the leadership: when it ends, nobody leads.
pub fn campaign(
    client: Client,
    candidate: Candidate,
    timing: Timing,
    stop: CancellationToken,
) -> (Leadership, impl Future<Output = ()>) {
    let (epoch, epochs) = watch::channel(None);
    let (outbid, outbids) = mpsc::unbounded_channel();
    let api = Api::namespaced(client, &candidate.namespace);
    let election = Election::new(&candidate.identity, timing);
    let driver = Driver { api, candidate, election, lease: None, epoch, outbids };
    (Leadership { epoch: epochs, outbid }, driver.run(stop))
}

struct Driver {
    api: Api<Lease>,
    candidate: Candidate,
    election: Election,
    /// As last read or written: the base of the next write.
    lease: Option<Lease>,
    epoch: watch::Sender<Option<u64>>,
    outbids: mpsc::UnboundedReceiver<u64>,
}

impl Driver {
    async fn run(mut self, stop: CancellationToken) {
        let timing = self.election.timing();
        // Two tries that hang, one after the other, and the wait between them
        // must end before the Lease does.
        let patience = timing.retry * 3 / 2;
        loop {
            while let Ok(epoch) = self.outbids.try_recv() {
                self.election.outbid(epoch);
            }
            let attempt = tokio::time::timeout(patience, self.attempt());
            let outcome = tokio::select! {
                () = stop.cancelled() => break,
                outcome = attempt => outcome.unwrap_or(Err(LeaseError::Timeout(patience))),
            };
            if let Err(error) = outcome {
                // Whatever went wrong, the base of the next write is unknown.
                self.lease = None;
                warn!(error = &error as &dyn std::error::Error, "election: the attempt failed");
            }
            self.tell();
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(timing.retry) => {}
                Some(epoch) = self.outbids.recv() => self.election.outbid(epoch),
            }
        }
        self.epoch.send_replace(None);
        self.give_back().await;
    }

    /// One try to take or renew the Lease.
    async fn attempt(&mut self) -> Result<(), LeaseError> {
        // A leader whose last write went well knows the Lease; everyone else reads it.
        if self.lease.is_none() || self.election.leads(Instant::now()).is_none() {
            self.lease = self.api.get_opt(CONTROLLER_LEASE).await.map_err(LeaseError::Read)?;
            self.election.saw(self.lease.as_ref().map(lease::record), Instant::now());
        }
        let Some(claim) = self.election.claim(Instant::now()) else {
            debug!(holder = ?self.lease.as_ref().and_then(|l| lease::record(l).holder), "election: another leads");
            return Ok(());
        };
        let started = Instant::now();
        let written = self.write(&claim).await?;
        self.election.wrote(lease::record(&written), started);
        self.lease = Some(written);
        Ok(())
    }

    async fn write(&self, claim: &Claim) -> Result<Lease, LeaseError> {
        let writer = lease::Writer {
            identity: &self.candidate.identity,
            address: &self.candidate.address,
            namespace: &self.candidate.namespace,
            owner: &self.candidate.owner,
            timing: self.election.timing(),
        };
        let lease = writer.claimed(self.lease.as_ref(), claim, Timestamp::now());
        let params = PostParams::default();
        match claim.replaces {
            None => self.api.create(&params, &lease).await,
            Some(_) => self.api.replace(CONTROLLER_LEASE, &params, &lease).await,
        }
        .map_err(LeaseError::Write)
    }

    fn tell(&self) {
        let leads = self.election.leads(Instant::now());
        self.epoch.send_if_modified(|before| {
            let changed = *before != leads;
            match (*before, leads) {
                (None, Some(epoch)) => info!(epoch, "election: leading"),
                (Some(epoch), None) => warn!(epoch, "election: the Lease is lost"),
                (Some(before), Some(epoch)) if changed => {
                    info!(before, epoch, "election: leading in a new epoch");
                }
                _ => {}
            }
            *before = leads;
            changed
        });
    }

    async fn give_back(&self) {
        let (Some(_), Some(lease)) = (self.election.release(), &self.lease) else { return };
        let timing = self.election.timing();
        let (params, lease) = (PostParams::default(), lease::released(lease));
        match tokio::time::timeout(timing.retry * 2, self.api.replace(CONTROLLER_LEASE, &params, &lease))
            .await
        {
            Ok(Ok(_)) => info!("election: the Lease is given back"),
            Ok(Err(error)) => {
                warn!(error = &error as &dyn std::error::Error, "election: giving the Lease back failed");
            }
            Err(_) => warn!("election: giving the Lease back took too long"),
        }
    }
}
