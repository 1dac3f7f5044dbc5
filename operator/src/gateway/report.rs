//! The one stream to the leading controller: what is asked for, so that models are loaded and
//! machines started. The gateway serves on without it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures::{Stream, stream};
use hearth_proto::control::v1::{ModelActivity, ReportRequest, control_service_client::ControlServiceClient};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tonic::Status;

use super::{
    leader::Leader,
    ledger::{Activity, Ledger},
    pool::Pool,
};

/// Between two reports, at the least.
const LEAST_GAP: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Reports to whoever leads, for as long as the process lives.
#[derive(Debug)]
pub struct Reporter {
    /// The gateway's Pod name.
    pub gateway: String,
    /// What is told.
    pub ledger: Arc<Ledger>,
    /// Dials the leader.
    pub pool: Arc<Pool>,
    /// Who leads; none while that is not known.
    pub leader: watch::Receiver<Option<Leader>>,
}

impl Reporter {
    /// Reports. A change of leader ends the old stream at once.
    pub async fn run(mut self) -> Infallible {
        let mut pause = FIRST_PAUSE;
        loop {
            let leader = self.leader.borrow_and_update().clone();
            let Some(leader) = leader else {
                self.changed().await;
                continue;
            };
            let mut told = false;
            let ended = select! {
                status = self.session(&leader, &mut told) => status,
                () = changed(self.leader.clone()) => continue,
            };
            if told {
                pause = FIRST_PAUSE;
            }
            tracing::info!(
                holder = leader.holder,
                address = leader.address,
                code = ?ended.code(),
                message = ended.message(),
                "the stream to the controller ended"
            );
            select! {
                () = sleep(pause) => {}
                () = changed(self.leader.clone()) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One stream, until it ends.
    async fn session(&self, leader: &Leader, told: &mut bool) -> Status {
        let channel = match self.pool.controller(&leader.address) {
            Ok(channel) => channel,
            Err(error) => return Status::unavailable(error.to_string()),
        };
        let reports = reports(self.gateway.clone(), self.ledger.clone());
        let mut responses = match ControlServiceClient::new(channel).report(reports).await {
            Ok(responses) => responses.into_inner(),
            Err(status) => return status,
        };
        tracing::info!(holder = leader.holder, address = leader.address, "reporting to the controller");
        *told = true;
        loop {
            match responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok("the controller ended it"),
                Err(status) => return status,
            }
        }
    }

    async fn changed(&mut self) {
        if self.leader.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits for another leader than the one that was seen last. For ever if nobody watches the
/// Lease any more: that is noticed elsewhere.
async fn changed(mut leader: watch::Receiver<Option<Leader>>) {
    if leader.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The whole activity: at once, and after each change, at most once a second.
fn reports(gateway: String, ledger: Arc<Ledger>) -> impl Stream<Item = ReportRequest> + Send {
    let changes = ledger.subscribe();
    stream::unfold((gateway, ledger, changes, None), |(gateway, ledger, mut changes, last)| async move {
        if let Some(last) = last {
            changes.changed().await.ok()?;
            sleep_until(last + LEAST_GAP).await;
        }
        changes.mark_unchanged();
        let models = ledger.snapshot().into_iter().map(activity).collect();
        let report = ReportRequest { gateway: gateway.clone(), models };
        Some((report, (gateway, ledger, changes, Some(Instant::now()))))
    })
}

fn activity(activity: Activity) -> ModelActivity {
    let Activity { key, served_name: _, waiting, running, idle, prompt_tokens, completion_tokens } = activity;
    ModelActivity {
        namespace: key.namespace,
        name: key.name,
        waiting,
        running,
        idle: prost_types::Duration::try_from(idle).ok(),
        prompt_tokens,
        completion_tokens,
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::gateway::routes::facts::ModelKey;

    #[tokio::test(start_paused = true)]
    async fn tells_at_once_and_then_changes_once_a_second() {
        let ledger = Arc::new(Ledger::default());
        let mut reports = std::pin::pin!(reports("gateway-0".into(), ledger.clone()));
        let first = reports.next().now_or_never().unwrap().unwrap();
        assert_eq!((first.gateway.as_str(), first.models.len()), ("gateway-0", 0));
        assert!(reports.next().now_or_never().is_none(), "nothing changed");

        let began = Instant::now();
        let key = ModelKey { namespace: "default".into(), name: "m".into() };
        let held: Vec<_> = (0..3).map(|_| ledger.begin(&key, "m")).collect();
        let second = reports.next().await.unwrap();
        assert_eq!(began.elapsed(), LEAST_GAP);
        assert_eq!(second.models[0].waiting, 3, "changes within a second are one report");
        drop(held);

        tokio::time::advance(Duration::from_secs(5)).await;
        let third = reports.next().now_or_never().unwrap().unwrap();
        assert_eq!(third.models[0].waiting, 0, "after a quiet second a change is told at once");
        assert_eq!(third.models[0].idle.unwrap().seconds, 5);
    }
}
