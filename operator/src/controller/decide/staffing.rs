//! Whether a machine's worker Pod shall be there.

use std::time::{Duration, Instant};

use hearth_plan::WorkerAction;
use k8s_openapi::jiff::Timestamp;

use super::failures::Failures;
use crate::controller::build::Holds;
use crate::controller::look::{Offer, PodPhase, PodView};

/// A Pod that the scheduler cannot place for this long is taken back, so that
/// the models go elsewhere.
const UNSCHEDULABLE: Duration = Duration::from_secs(20);
/// A Pod whose container is refused, for want of its image or of something that
/// it names, gets this long: the kubelet has tried several times by then.
const REFUSED: Duration = Duration::from_secs(60);
/// Volumes that are not attached and mounted by then are not in a moment either.
const MOUNTS_WITHIN: Duration = Duration::from_secs(2 * 60);
/// An image of several GB over a slow line.
const PULLS_WITHIN: Duration = Duration::from_secs(15 * 60);

/// What is to be done about a machine's Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodAction {
    /// Nothing: it is as it should be, there or not there.
    Leave,
    /// Make it.
    Create(Holds),
    /// Delete it.
    Delete {
        /// Why, for people.
        why: String,
    },
    /// It is needed and cannot be made now.
    Blocked {
        /// Why, for people.
        why: String,
    },
}

/// What the decision follows from.
#[derive(Debug)]
pub(super) struct Question<'a> {
    /// The Worker's name.
    pub worker: &'a str,
    /// The Pod, if there is one.
    pub pod: Option<&'a PodView>,
    /// What the node offers.
    pub offer: &'a Offer,
    /// What the plan says.
    pub action: &'a WorkerAction,
    /// Whether the plan has replicas there.
    pub placed: bool,
    /// Whether it is answering requests.
    pub busy: bool,
    /// Whether its own or the kubelet's readings name the devices that broke.
    pub sick_known: bool,
    /// Whether more GPUs than its Pod holds could place a model that waits.
    pub wants_more: bool,
    /// The hash of the template of today.
    pub template: &'a str,
    /// Whether another machine with models is not serving them right now.
    pub another_rolls: bool,
}

/// Decides. Remembers in `failures` what went wrong.
pub(super) fn staff(q: &Question<'_>, failures: &mut Failures, at: Instant, now: Timestamp) -> PodAction {
    let Some(pod) = q.pod else { return hire(q, failures, at) };
    if pod.phase == PodPhase::Ending {
        return PodAction::Leave;
    }
    if let Some(why) = parked(q.action) {
        return delete(why);
    }
    if let (Offer::Nothing(why), false) = (q.offer, q.placed) {
        return delete(format!("{why}, and it holds nothing"));
    }
    match &pod.phase {
        PodPhase::Ending => PodAction::Leave,
        PodPhase::Over { message } => {
            failures.add(q.worker, &pod.uid, message, at);
            delete(message)
        }
        PodPhase::Unschedulable { since, message } => {
            let waited = Duration::try_from(now.duration_since(*since)).unwrap_or_default();
            if waited < UNSCHEDULABLE {
                return PodAction::Leave;
            }
            let why = format!("its Pod cannot be scheduled: {message}");
            failures.add(q.worker, &pod.uid, &why, at);
            delete(why)
        }
        PodPhase::Starting { .. } if pod.template.as_deref() != Some(q.template) => {
            delete("its template changed before it ran")
        }
        PodPhase::Starting { waiting } => match overdue(pod, waiting.as_deref(), now) {
            None => PodAction::Leave,
            Some(why) => {
                failures.add(q.worker, &pod.uid, &why, at);
                delete(why)
            }
        },
        PodPhase::Running { ready } => {
            if *ready {
                failures.forgive(q.worker, at);
            }
            keep(q, pod)
        }
    }
}

/// Why a Pod that does not run yet is given up, if it is: its machine looks like
/// one that starts for as long as it is there, and the models wait for it.
fn overdue(pod: &PodView, waiting: Option<&str>, now: Timestamp) -> Option<String> {
    let (limit, what) = match (waiting, pod.has_sandbox) {
        (Some(waiting), _) => (REFUSED, waiting),
        (None, Some(false)) => (MOUNTS_WITHIN, "its volumes or its network are not there"),
        (None, _) => (PULLS_WITHIN, "its container is not there, most likely for want of the image"),
    };
    let age = Duration::try_from(now.duration_since(pod.created?)).unwrap_or_default();
    (age >= limit).then(|| format!("its Pod does not start: {what}"))
}

fn delete(why: impl Into<String>) -> PodAction {
    PodAction::Delete { why: why.into() }
}

/// Why the plan ends a machine's process, if it does.
fn parked(action: &WorkerAction) -> Option<&'static str> {
    match action {
        WorkerAction::Keep | WorkerAction::Start | WorkerAction::StartToMeasure => None,
        WorkerAction::ParkIdle => Some("it is idle, and its machine is given back to the cluster"),
        WorkerAction::ParkClosed => Some("the Worker is closed and holds nothing any more"),
        WorkerAction::ParkTroubled => Some("it cannot start, and nothing is placed on it"),
    }
}

/// About a Pod that runs.
fn keep(q: &Question<'_>, pod: &PodView) -> PodAction {
    if pod.template.as_deref() != Some(q.template) {
        // One without models at once; of the others, one at a time.
        return match q.placed && q.another_rolls {
            true => PodAction::Leave,
            false => delete("its template changed"),
        };
    }
    if let Offer::Gpus(offer) = q.offer {
        let works = offer.free();
        if works < pod.gpus && !q.sick_known {
            return match works {
                0 if q.placed => PodAction::Leave,
                _ => delete(format!("a GPU of its Pod no longer works: {offer}")),
            };
        }
        let available = offer.available();
        let differs =
            available > pod.gpus || offer.limit.is_some_and(|limit| limit < pod.gpus && available > 0);
        if differs && !q.busy && (!q.placed || q.wants_more) {
            return delete(format!("it may hold {available} GPUs now, not {}", pod.gpus));
        }
    }
    PodAction::Leave
}

/// About a Pod that is not there.
fn hire(q: &Question<'_>, failures: &Failures, at: Instant) -> PodAction {
    match q.action {
        WorkerAction::Start | WorkerAction::StartToMeasure => {}
        WorkerAction::Keep if q.placed => {}
        _ => return PodAction::Leave,
    }
    if let Some((why, _)) = failures.blocked(q.worker, at) {
        return PodAction::Blocked { why: why.to_owned() };
    }
    match q.offer.holds() {
        Ok(holds) => PodAction::Create(holds),
        Err(why) => PodAction::Blocked { why },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::failures::{FIRST_WAIT, FORGIVEN_AFTER};
    use super::*;
    use crate::controller::look::GpuOffer;

    fn gpus(allocatable: u32, held_by_others: u32) -> Offer {
        Offer::Gpus(GpuOffer {
            node: "box".to_owned(),
            resource: "nvidia.com/gpu".to_owned(),
            capacity: 2,
            allocatable,
            limit: None,
            others: (held_by_others > 0)
                .then(|| ("default/other".to_owned(), held_by_others))
                .into_iter()
                .collect(),
        })
    }

    fn pod(phase: PodPhase) -> PodView {
        PodView {
            name: "hearth-worker-box".to_owned(),
            uid: "1".to_owned(),
            phase,
            created: Timestamp::from_second(1_000).ok(),
            ends: None,
            has_sandbox: None,
            ip: None,
            template: Some("t".to_owned()),
            gpus: 2,
            unhealthy: BTreeMap::new(),
        }
    }

    fn running() -> PodView {
        pod(PodPhase::Running { ready: true })
    }

    fn question<'a>(pod: Option<&'a PodView>, offer: &'a Offer) -> Question<'a> {
        Question {
            worker: "box",
            pod,
            offer,
            action: &WorkerAction::Start,
            placed: false,
            busy: false,
            sick_known: false,
            wants_more: false,
            template: "t",
            another_rolls: false,
        }
    }

    fn decide(q: &Question<'_>) -> PodAction {
        staff(q, &mut Failures::default(), Instant::now(), Timestamp::UNIX_EPOCH)
    }

    fn is_delete(action: &PodAction) -> bool {
        matches!(action, PodAction::Delete { .. })
    }

    #[test]
    fn a_pod_is_made_when_the_plan_needs_the_machine_and_not_before() {
        let offer = gpus(2, 0);
        let holds = Holds::Gpus { resource: "nvidia.com/gpu".to_owned(), count: 2 };
        assert_eq!(decide(&question(None, &offer)), PodAction::Create(holds));
        assert_eq!(
            decide(&Question { action: &WorkerAction::Keep, ..question(None, &offer) }),
            PodAction::Leave
        );
        assert_eq!(
            decide(&Question { action: &WorkerAction::ParkIdle, ..question(None, &offer) }),
            PodAction::Leave
        );
    }

    #[test]
    fn gpus_that_others_hold_are_waited_for() {
        let offer = gpus(2, 2);
        let why = "box has 2 GPUs: 2 requested by Pod default/other".to_owned();
        assert_eq!(decide(&question(None, &offer)), PodAction::Blocked { why });
        let one = gpus(2, 1);
        assert!(matches!(decide(&question(None, &one)), PodAction::Create(Holds::Gpus { count: 1, .. })));
    }

    #[test]
    fn a_machine_that_the_plan_parks_loses_its_pod_whatever_it_does() {
        let offer = gpus(2, 0);
        for phase in [PodPhase::Running { ready: true }, PodPhase::Starting { waiting: None }] {
            let pod = pod(phase);
            let park = Question { action: &WorkerAction::ParkIdle, ..question(Some(&pod), &offer) };
            assert!(is_delete(&decide(&park)));
            let keep = Question { action: &WorkerAction::Keep, ..question(Some(&pod), &offer) };
            assert_eq!(decide(&keep), PodAction::Leave);
        }
        let ending = pod(PodPhase::Ending);
        let park = Question { action: &WorkerAction::ParkClosed, ..question(Some(&ending), &offer) };
        assert_eq!(decide(&park), PodAction::Leave);
    }

    #[test]
    fn a_pod_that_cannot_be_scheduled_is_taken_back_after_twenty_seconds_and_tried_again_later() {
        let offer = gpus(2, 0);
        let phase = |message: &str| PodPhase::Unschedulable {
            since: Timestamp::from_second(1_000).unwrap(),
            message: message.to_owned(),
        };
        let stuck = pod(phase("no room"));
        let (mut failures, at) = (Failures::default(), Instant::now());
        let now = |seconds: i64| Timestamp::from_second(1_000 + seconds).unwrap();
        assert_eq!(staff(&question(Some(&stuck), &offer), &mut failures, at, now(19)), PodAction::Leave);
        assert!(is_delete(&staff(&question(Some(&stuck), &offer), &mut failures, at, now(20))));
        assert!(
            is_delete(&staff(&question(Some(&stuck), &offer), &mut failures, at, now(21))),
            "counted once"
        );
        let absent = question(None, &offer);
        let why = "its Pod cannot be scheduled: no room".to_owned();
        assert_eq!(staff(&absent, &mut failures, at, now(22)), PodAction::Blocked { why });
        assert!(matches!(staff(&absent, &mut failures, at + FIRST_WAIT, now(27)), PodAction::Create(_)));
        let again = PodView { uid: "2".to_owned(), ..pod(phase("no room")) };
        staff(&question(Some(&again), &offer), &mut failures, at, now(60));
        assert!(failures.blocked("box", at + FIRST_WAIT).is_some(), "the second wait is longer");
    }

    #[test]
    fn a_pod_that_does_not_start_is_given_up_and_its_machine_counts_as_troubled() {
        let offer = gpus(2, 0);
        let now = |seconds: i64| Timestamp::from_second(1_000 + seconds).unwrap();
        let starting = |waiting: Option<&str>, has_sandbox| PodView {
            has_sandbox,
            ..pod(PodPhase::Starting { waiting: waiting.map(str::to_owned) })
        };
        for (pod, limit) in [
            (starting(Some("ImagePullBackOff: no such image"), Some(true)), 60),
            (starting(None, Some(false)), 120),
            (starting(None, Some(true)), 900),
            (starting(None, None), 900),
        ] {
            let (mut failures, at) = (Failures::default(), Instant::now());
            let q = question(Some(&pod), &offer);
            assert_eq!(staff(&q, &mut failures, at, now(limit - 1)), PodAction::Leave);
            assert!(is_delete(&staff(&q, &mut failures, at, now(limit))));
            let (why, _) = failures.blocked("box", at).unwrap();
            assert!(why.starts_with("its Pod does not start: "), "{why}");
        }
    }

    #[test]
    fn a_pod_that_is_over_is_deleted_and_made_again_after_a_wait() {
        let offer = gpus(2, 0);
        let over = pod(PodPhase::Over { message: "UnexpectedAdmissionError".to_owned() });
        let (mut failures, at) = (Failures::default(), Instant::now());
        assert!(is_delete(&staff(&question(Some(&over), &offer), &mut failures, at, Timestamp::UNIX_EPOCH)));
        assert!(failures.blocked("box", at).is_some());
        failures.forgive("box", at + FIRST_WAIT + FORGIVEN_AFTER);
        assert!(failures.blocked("box", at).is_none());
    }

    #[test]
    fn a_changed_template_rolls_an_empty_pod_at_once_and_others_one_by_one() {
        let (pod, offer) = (running(), gpus(2, 0));
        let changed = Question { template: "u", placed: true, ..question(Some(&pod), &offer) };
        assert!(is_delete(&decide(&changed)));
        let changed = Question { another_rolls: true, ..changed };
        assert_eq!(decide(&changed), PodAction::Leave);
        let empty = Question { placed: false, ..changed };
        assert!(is_delete(&decide(&empty)));
    }

    #[test]
    fn a_broken_gpu_that_nobody_names_costs_the_pod_and_one_that_is_named_does_not() {
        let (pod, offer) = (running(), gpus(1, 0));
        let unnamed = Question { placed: true, ..question(Some(&pod), &offer) };
        assert!(is_delete(&decide(&unnamed)));
        let named = Question { sick_known: true, ..unnamed };
        assert_eq!(decide(&named), PodAction::Leave);
    }

    #[test]
    fn a_node_that_serves_no_more_loses_its_pod_once_its_models_are_gone() {
        let (pod, offer) = (running(), Offer::Nothing("the node box offers no nvidia.com/gpu".to_owned()));
        let holding = Question { placed: true, action: &WorkerAction::Keep, ..question(Some(&pod), &offer) };
        assert_eq!(decide(&holding), PodAction::Leave);
        assert!(is_delete(&decide(&Question { placed: false, ..holding })));
    }

    #[test]
    fn gpus_that_became_free_are_taken_when_that_disturbs_nobody() {
        let offer = gpus(2, 0);
        let small = PodView { gpus: 1, ..running() };
        assert!(is_delete(&decide(&question(Some(&small), &offer))));
        let placed = Question { placed: true, ..question(Some(&small), &offer) };
        assert_eq!(decide(&placed), PodAction::Leave);
        assert!(is_delete(&decide(&Question { wants_more: true, ..placed })));
        let busy = Question { placed: true, wants_more: true, busy: true, ..question(Some(&small), &offer) };
        assert_eq!(decide(&busy), PodAction::Leave);
    }
}
