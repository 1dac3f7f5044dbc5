//! A replica's status: what was ordered, and what its worker tells of it.

use std::time::{Duration, Instant};

use hearth_api::model::{Footprint, Progress, ReplicaState, ReplicaStatus};
use hearth_proto::worker::v1 as wire;

use super::round;
use crate::controller::look::LinkState;

/// A worker that does not answer for this long has no ready replicas. Shorter
/// silences are a connection that is made anew.
const SILENT: Duration = Duration::from_secs(2);

/// Puts what the worker tells into the status of a replica that was ordered.
pub fn tell(ordered: &mut ReplicaStatus, id: &str, link: Option<&LinkState>, at: Instant) {
    let (state, progress, message) = match reported(ordered, id, link, at) {
        Ok(Some(report)) => describe(report),
        Ok(None) => (ReplicaState::Pending, None, None),
        Err(why) => (ReplicaState::Pending, None, Some(why)),
    };
    ordered.state = state;
    ordered.progress = progress;
    ordered.message = message;
}

/// What the worker tells of the replica as it was last ordered.
///
/// # Errors
/// Why nothing is known, for people.
pub(super) fn reported<'a>(
    ordered: &ReplicaStatus,
    id: &str,
    link: Option<&'a LinkState>,
    at: Instant,
) -> Result<Option<&'a wire::ReplicaStatus>, String> {
    let Some(link) = link else {
        return Err(format!("{} is starting", ordered.worker));
    };
    if !link.up && at.saturating_duration_since(link.since) >= SILENT {
        return Err(match link.last {
            Some(_) => format!("{} does not answer", ordered.worker),
            None => format!("{} is starting", ordered.worker),
        });
    }
    let fence = (ordered.epoch, ordered.generation);
    let report = link.last.as_ref().and_then(|last| last.replicas.iter().find(|replica| replica.id == id));
    // What is told of an earlier order under the same id says nothing of this one.
    Ok(report.filter(|report| report.fence.is_some_and(|f| (f.epoch, f.generation) >= fence)))
}

fn describe(report: &wire::ReplicaStatus) -> (ReplicaState, Option<Progress>, Option<String>) {
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
    (state, progress, report.failure.as_ref().map(|failure| failure.message.clone()))
}

/// The API's spelling of a footprint.
pub fn footprint(footprint: &hearth_model::Footprint) -> Footprint {
    let hearth_model::Footprint { weights, kv, activations, overhead } = *footprint;
    Footprint { weights, kv, activations, overhead }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hearth_api::model::KvType;

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
            footprint: Footprint::default(),
            epoch: 3,
            generation: 2,
            state: ReplicaState::Pending,
            progress: None,
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
    fn a_silent_worker_has_no_ready_replicas() {
        let down = link(wire::ReplicaState::Ready, (3, 2), false);
        assert_eq!(state(Some(&down), Duration::ZERO).0, ReplicaState::Ready, "a blink is not silence");
        let (state, message) = state(Some(&down), SILENT);
        assert_eq!((state, message.as_deref()), (ReplicaState::Pending, Some("box does not answer")));
    }

    #[test]
    fn progress_is_told_in_round_numbers() {
        let mut status = ordered();
        tell(&mut status, "m-0", Some(&link(wire::ReplicaState::Fetching, (3, 2), true)), Instant::now());
        let progress = status.progress.unwrap();
        assert_eq!((progress.percent, progress.done_bytes), (50, 500));
    }
}
