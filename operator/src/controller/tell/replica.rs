//! A replica's status: what was ordered, and what its worker tells of it.

use std::time::{Duration, Instant};

use hearth_api::condition::ModelReason;
use hearth_api::model::{Progress, ReplicaState, ReplicaStatus};
use hearth_model::Footprint;
use hearth_proto::worker::v1 as wire;

use super::{bound, round, untold};
use crate::controller::decide::GONE_AFTER;
use crate::controller::look::LinkState;

/// A worker that does not answer for this long has no ready replicas. Shorter
/// silences are a connection that is made anew.
const SILENT: Duration = Duration::from_secs(2);

/// Puts what the worker tells into the status of a replica that was ordered.
pub fn tell(ordered: &mut ReplicaStatus, id: &str, link: Option<&LinkState>, at: Instant) {
    // A link that was not up yet says nothing, and a leader that just began has no
    // other: what an earlier one was told holds on for as long as a silence may.
    let is_new = |link: &LinkState| !link.up && link.last.is_none();
    if link.is_some_and(|link| is_new(link) && at.saturating_duration_since(link.since) < GONE_AFTER) {
        return;
    }
    let told = match reported(ordered, id, link, at) {
        Ok(Some(report)) => describe(report),
        Ok(None) => Told::default(),
        Err(silence) => Told {
            reason: Some(silence.reason.as_str().to_owned()),
            message: Some(silence.message),
            ..Told::default()
        },
    };
    let Told { state, progress, reason, message } = told;
    (ordered.state, ordered.progress, ordered.reason, ordered.message) = (state, progress, reason, message);
}

/// What the replica takes on its device: what its engine allocated if it is
/// Ready and its worker tells, else what was reserved.
pub(super) fn taken(told: &ReplicaStatus, id: &str, link: Option<&LinkState>, at: Instant) -> Footprint {
    let is_ready = told.state == ReplicaState::Ready;
    let report = reported(told, id, link, at).ok().flatten().filter(|_| is_ready);
    let measured = report.and_then(|report| report.measured).map(|measured| {
        let wire::Footprint { weights, kv, activations, overhead } = measured;
        Footprint { weights, kv, activations, overhead }
    });
    // An engine that allocates nothing does not measure.
    measured.filter(|measured| measured.total() > 0).unwrap_or_else(|| untold(&told.footprint))
}

/// What becomes of a replica's status.
#[derive(Default)]
struct Told {
    state: ReplicaState,
    progress: Option<Progress>,
    reason: Option<String>,
    message: Option<String>,
}

/// Why nothing is known of a replica.
struct Silence {
    reason: ModelReason,
    message: String,
}

impl Silence {
    fn starting(worker: &str) -> Self {
        Self { reason: ModelReason::WorkerStarting, message: format!("{worker} is starting") }
    }

    fn gone(worker: &str) -> Self {
        Self { reason: ModelReason::WorkerGone, message: format!("{worker} does not answer") }
    }
}

/// What the worker tells of the replica as it was last ordered.
///
/// # Errors
/// Why nothing is known.
fn reported<'a>(
    ordered: &ReplicaStatus,
    id: &str,
    link: Option<&'a LinkState>,
    at: Instant,
) -> Result<Option<&'a wire::ReplicaStatus>, Silence> {
    let Some(link) = link else {
        return Err(Silence::starting(&ordered.worker));
    };
    if !link.up && at.saturating_duration_since(link.since) >= SILENT {
        return Err(match link.last {
            Some(_) => Silence::gone(&ordered.worker),
            None => Silence::starting(&ordered.worker),
        });
    }
    let fence = (ordered.epoch, ordered.generation);
    let report = link.last.as_ref().and_then(|last| last.replicas.iter().find(|replica| replica.id == id));
    // What is told of an earlier order under the same id says nothing of this one.
    Ok(report.filter(|report| report.fence.is_some_and(|f| (f.epoch, f.generation) >= fence)))
}

fn describe(report: &wire::ReplicaStatus) -> Told {
    let state = match report.state() {
        wire::ReplicaState::Unspecified | wire::ReplicaState::Pending => ReplicaState::Pending,
        wire::ReplicaState::Fetching => ReplicaState::Fetching,
        wire::ReplicaState::Loading => ReplicaState::Loading,
        wire::ReplicaState::Warming => ReplicaState::Warming,
        wire::ReplicaState::Ready => ReplicaState::Ready,
        wire::ReplicaState::Draining => ReplicaState::Draining,
        wire::ReplicaState::Failed => ReplicaState::Failed,
    };
    let moves = matches!(state, ReplicaState::Fetching | ReplicaState::Loading) && report.total_bytes > 0;
    let progress = moves.then(|| {
        let (percent, done_bytes) = round::progress(report.done_bytes, report.total_bytes);
        let eta = report.eta.and_then(|eta| Duration::try_from(eta).ok()).map(round::eta);
        Progress { percent, done_bytes, total_bytes: report.total_bytes, eta }
    });
    let failure = report.failure.as_ref();
    Told {
        state,
        progress,
        reason: failure.and_then(|failure| bound::reason(&failure.reason)).map(str::to_owned),
        message: failure.map(|failure| failure.message.clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_api::model::KvType;

    use super::super::footprint;
    use super::*;

    fn ordered() -> ReplicaStatus {
        ReplicaStatus {
            ordinal: 0,
            worker: "box".to_owned(),
            device: "GPU-a".to_owned(),
            context: 4096,
            sequences: 4,
            kv_type: KvType::F16,
            file: String::new(),
            footprint: hearth_api::model::Footprint::default(),
            epoch: 3,
            generation: 2,
            state: ReplicaState::Pending,
            replaces: None,
            progress: None,
            reason: None,
            message: None,
        }
    }

    fn link(state: wire::ReplicaState, fence: (u64, u64), up: bool) -> LinkState {
        let replica = wire::ReplicaStatus {
            id: "m-0".to_owned(),
            state: state.into(),
            done_bytes: 512,
            total_bytes: 1000,
            fence: Some(wire::Fence { epoch: fence.0, generation: fence.1 }),
            ..wire::ReplicaStatus::default()
        };
        let last = wire::WatchResponse { replicas: vec![replica], ..wire::WatchResponse::default() };
        LinkState { up, last: Some(Arc::new(last)), ..LinkState::new(Instant::now()) }
    }

    fn state(link: Option<&LinkState>, later: Duration) -> (ReplicaState, Option<String>) {
        let mut status = ordered();
        tell(&mut status, "m-0", link, Instant::now() + later);
        (status.state, status.message)
    }

    #[test]
    fn a_report_counts_if_it_is_about_this_order_or_a_later_one() {
        let ready = wire::ReplicaState::Ready;
        assert_eq!(state(Some(&link(ready, (3, 2), true)), Duration::ZERO).0, ReplicaState::Ready);
        assert_eq!(state(Some(&link(ready, (4, 1), true)), Duration::ZERO).0, ReplicaState::Ready);
        assert_eq!(state(Some(&link(ready, (3, 1), true)), Duration::ZERO).0, ReplicaState::Pending);
    }

    #[test]
    fn a_leader_that_just_began_believes_the_one_before_it_for_a_while() {
        let began = Instant::now();
        let new = LinkState::new(began);
        let mut status = ReplicaStatus { state: ReplicaState::Ready, ..ordered() };
        tell(&mut status, "m-0", Some(&new), began + GONE_AFTER - Duration::from_millis(1));
        assert_eq!(status.state, ReplicaState::Ready);
        tell(&mut status, "m-0", Some(&new), began + GONE_AFTER);
        assert_eq!(status.state, ReplicaState::Pending);
    }

    #[test]
    fn a_silent_worker_has_no_ready_replicas() {
        let down = link(wire::ReplicaState::Ready, (3, 2), false);
        assert_eq!(state(Some(&down), Duration::ZERO).0, ReplicaState::Ready, "a blink is not silence");
        let (state, message) = state(Some(&down), SILENT);
        assert_eq!((state, message.as_deref()), (ReplicaState::Pending, Some("box does not answer")));
    }

    #[test]
    fn a_failure_is_told_with_its_own_word_if_it_is_one() {
        let failed = |reason: &str| {
            let mut link = link(wire::ReplicaState::Failed, (3, 2), true);
            let last = Arc::get_mut(link.last.as_mut().unwrap()).unwrap();
            let (reason, message) = (reason.to_owned(), "sha256 is another".to_owned());
            last.replicas[0].failure = Some(wire::Failure { reason, message, permanent: true });
            let mut status = ordered();
            tell(&mut status, "m-0", Some(&link), Instant::now());
            (status.state, status.reason, status.message.unwrap())
        };
        let message = "sha256 is another".to_owned();
        let known = (ReplicaState::Failed, Some("DigestMismatch".to_owned()), message.clone());
        assert_eq!(failed("DigestMismatch"), known);
        assert_eq!(failed("no word"), (ReplicaState::Failed, None, message));
    }

    #[test]
    fn a_ready_replica_takes_what_its_engine_allocated() {
        let planned = Footprint { weights: 100, ..Footprint::default() };
        let allocated = wire::Footprint { weights: 120, kv: 7, ..wire::Footprint::default() };
        let taken_in = |state: wire::ReplicaState, measured: Option<wire::Footprint>| {
            let mut link = link(state, (3, 2), true);
            Arc::get_mut(link.last.as_mut().unwrap()).unwrap().replicas[0].measured = measured;
            let mut status = ReplicaStatus { footprint: footprint(&planned), ..ordered() };
            tell(&mut status, "m-0", Some(&link), Instant::now());
            assert_eq!(untold(&status.footprint), planned, "what is reserved stays");
            taken(&status, "m-0", Some(&link), Instant::now())
        };
        let ready = wire::ReplicaState::Ready;
        assert_eq!(
            taken_in(ready, Some(allocated)),
            Footprint { weights: 120, kv: 7, ..Footprint::default() }
        );
        assert_eq!(taken_in(ready, None), planned);
        assert_eq!(taken_in(ready, Some(wire::Footprint::default())), planned);
        assert_eq!(taken_in(wire::ReplicaState::Loading, Some(allocated)), planned);
    }

    #[test]
    fn progress_is_told_in_round_numbers() {
        let mut status = ordered();
        tell(&mut status, "m-0", Some(&link(wire::ReplicaState::Fetching, (3, 2), true)), Instant::now());
        let progress = status.progress.unwrap();
        assert_eq!((progress.percent, progress.done_bytes), (50, 500));
    }
}
