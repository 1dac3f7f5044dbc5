//! The life of replicas, step by step, without a clock or a device.

mod crashes;

use std::time::{Duration, Instant};

use hearth_model::Footprint;
use hearth_source::{Digest, Token};
use proptest::prelude::*;

use super::event::{Effect, Event, InstanceId, LoadStep, LocalFile, Try};
use super::room::OUT_OF_MEMORY;
use super::schedule::FETCH_STANDS_ASIDE;
use super::state::{EngineState, Stage, State};
use super::step::DRAIN_AT_MOST;
use crate::intent::Intent;
use crate::spec::tests::spec;
use crate::spec::{Failure, Fence, ReplicaSpec};

const GIB: u64 = 1 << 30;

struct Bench {
    state: State,
    now: Instant,
    generation: u64,
}

impl Bench {
    /// One device with 2 GiB: two of the replicas that `spec` makes.
    fn new() -> Self {
        let mut bench = Self { state: State::new(["d0".to_owned()]), now: Instant::now(), generation: 0 };
        bench.step(Event::Budget { device: "d0".into(), bytes: 2 * GIB, room: 2 * GIB, unusable: None });
        bench
    }

    fn step(&mut self, event: Event) -> Vec<Effect> {
        self.state.step(event, self.now)
    }

    fn pass(&mut self, time: Duration) -> Vec<Effect> {
        self.now += time;
        self.step(Event::Tick)
    }

    fn apply(&mut self, replicas: Vec<ReplicaSpec>) -> Vec<Effect> {
        self.generation += 1;
        let fence = Fence { epoch: 1, generation: self.generation };
        self.step(Event::Applied(Intent { fence, replicas }))
    }

    fn stage(&self, id: &str) -> &Stage {
        let (_, instance) = self
            .state
            .instances
            .iter()
            .rfind(|(_, i)| i.spec.id == id)
            .unwrap_or_else(|| panic!("no instance of {id}"));
        &instance.stage
    }

    fn fetched(&mut self, of: Try) -> Vec<Effect> {
        self.step(Event::Fetched { of, file: file() })
    }

    fn loaded(&mut self, of: Try) -> Vec<Effect> {
        self.step(Event::Loaded { of, measured: Footprint { weights: GIB, ..Footprint::default() } })
    }

    /// Applies one replica and takes it to Ready.
    fn ready(id: &str) -> (Self, InstanceId) {
        let mut bench = Self::new();
        let of = fetch(&bench.apply(vec![spec(id)]));
        bench.fetched(of);
        let of = load(&bench.step(Event::EngineUp { device: "d0".into() }));
        assert_eq!(bench.loaded(of), []);
        assert_eq!(bench.stage(id), &Stage::Ready);
        (bench, of.instance)
    }
}

fn file() -> LocalFile {
    LocalFile { path: "/store/a".into(), sha256: Digest::of(b"a"), size_bytes: 1000 }
}

fn fetch(effects: &[Effect]) -> Try {
    match effects {
        [Effect::Fetch { of, .. }] => *of,
        other => panic!("expected one fetch, got {other:?}"),
    }
}

fn load(effects: &[Effect]) -> Try {
    match effects {
        [Effect::Load { of, .. }] => *of,
        other => panic!("expected one load, got {other:?}"),
    }
}

fn crash() -> Event {
    Event::EngineDown {
        device: "d0".into(),
        failure: Some(Failure::transient("EngineKilled", "killed by signal 9")),
    }
}

#[test]
fn from_nothing_to_ready() {
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![spec("a")]));
    assert_eq!(bench.step(Event::FetchProgress { of, done: 10, total: 1000 }), []);
    // The engine process is started only now, when there is something to load.
    let effects = bench.fetched(of);
    assert_eq!(effects, [Effect::StartEngine { device: "d0".into(), at: bench.now }]);
    let of = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    bench.step(Event::LoadProgress { of, step: LoadStep::Weights, done: 5, total: 10 });
    bench.step(Event::LoadProgress { of, step: LoadStep::Warming, done: 0, total: 1 });
    assert!(matches!(bench.stage("a"), Stage::Loading { warming: true, .. }));
    bench.loaded(of);
    assert_eq!(bench.stage("a"), &Stage::Ready);
}

#[test]
fn the_same_set_again_changes_nothing() {
    let (mut bench, _) = Bench::ready("a");
    assert_eq!(bench.apply(vec![spec("a")]), []);
    assert_eq!(bench.stage("a"), &Stage::Ready);
}

#[test]
fn what_runs_speaks_for_the_newest_order_that_it_satisfies() {
    let (mut bench, id) = Bench::ready("a");
    let mut elsewhere = spec("a");
    elsewhere.file.revision = "2".into();
    assert_eq!(bench.apply(vec![elsewhere]), [], "a source that renames its version renames no bytes");
    assert_eq!(bench.state.instances[&id].fence, Fence { epoch: 1, generation: 2 });
    bench.apply(vec![]);
    let fence = bench.state.instances[&id].fence;
    assert_eq!(fence, Fence { epoch: 1, generation: 2 }, "it drains, and speaks for nothing newer");
}

#[test]
fn a_removed_replica_drains_before_it_is_unloaded() {
    let (mut bench, id) = Bench::ready("a");
    assert_eq!(bench.apply(vec![]), [Effect::Drain(id)]);
    assert_eq!(bench.step(Event::Idle(id)), [Effect::Unload { instance: id, device: "d0".into() }]);
    let effects = bench.step(Event::Unloaded(id));
    assert_eq!(effects, [Effect::Forget(id), Effect::StopEngine { device: "d0".into() }]);
    bench.step(Event::EngineDown { device: "d0".into(), failure: None });
    assert_eq!(bench.state.devices["d0"].engine, EngineState::Stopped);
    assert!(bench.state.instances.is_empty());
}

#[test]
fn draining_has_a_bound() {
    let (mut bench, id) = Bench::ready("a");
    bench.apply(vec![]);
    assert_eq!(bench.pass(DRAIN_AT_MOST - Duration::from_millis(1)), []);
    assert_eq!(bench.pass(Duration::from_millis(1)), [Effect::Unload { instance: id, device: "d0".into() }]);
}

#[test]
fn another_shape_is_another_load() {
    let (mut bench, old) = Bench::ready("a");
    let mut longer = spec("a");
    longer.context_tokens = 8192.try_into().unwrap();
    let effects = bench.apply(vec![longer]);
    let [Effect::Drain(drained), Effect::Fetch { of, .. }] = effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!(drained, old);
    assert_ne!(of.instance, old);
}

#[test]
fn a_load_waits_for_memory_that_is_on_its_way() {
    let (mut bench, old) = Bench::ready("a");
    let mut big = spec("b");
    big.footprint.weights = 2 * GIB;
    let of = fetch(&bench.apply(vec![big])[1..]);
    // It would fit beside nothing but what drains.
    assert_eq!(bench.fetched(of), []);
    bench.step(Event::Idle(old));
    let effects = bench.step(Event::Unloaded(old));
    assert!(matches!(effects[..], [Effect::Forget(_), Effect::Load { .. }]), "{effects:?}");
}

#[test]
fn what_fits_does_not_wait_for_the_drain() {
    let (mut bench, _) = Bench::ready("a");
    let of = fetch(&bench.apply(vec![spec("b")])[1..]);
    load(&bench.fetched(of));
}

#[test]
fn loads_on_a_device_take_turns() {
    let mut bench = Bench::new();
    let effects = bench.apply(vec![spec("a"), spec("b"), spec("c")]);
    // Two fetches at once, the third waits.
    let [Effect::Fetch { of: a, .. }, Effect::Fetch { of: b, .. }] = effects[..] else {
        panic!("{effects:?}");
    };
    bench.fetched(a);
    bench.fetched(b);
    let first = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    assert_eq!(first.instance, a.instance);
    let second = load(&bench.loaded(first));
    assert_eq!(second.instance, b.instance);
}

#[test]
fn a_transient_failure_is_tried_again_ever_later() {
    let mut bench = Bench::new();
    let mut of = fetch(&bench.apply(vec![spec("a")]));
    for wait in [1, 2, 4] {
        let failure = Failure::transient("FetchFailed", "connection reset");
        assert_eq!(bench.step(Event::FetchFailed { of, failure }), []);
        assert_eq!(bench.pass(Duration::from_secs(wait) - Duration::from_millis(1)), []);
        of = fetch(&bench.pass(Duration::from_millis(1)));
    }
}

#[test]
fn a_permanent_failure_waits_for_another_spec() {
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![spec("a")]));
    bench.step(Event::FetchFailed { of, failure: Failure::permanent("DigestMismatch", "") });
    assert_eq!(bench.pass(Duration::from_secs(10_000)), []);
    assert_eq!(bench.apply(vec![spec("a")]), []);
    let mut other = spec("a");
    other.file.revision = "2".into();
    fetch(&bench.apply(vec![other]));
}

#[test]
fn a_fresh_token_is_worth_a_try_at_once() {
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![spec("a")]));
    bench.step(Event::FetchFailed { of, failure: Failure::permanent("Unauthorized", "") });
    let mut with_token = spec("a");
    with_token.file.bearer_token = Token::new("t");
    fetch(&bench.apply(vec![with_token]));
}

#[test]
fn the_same_bytes_from_elsewhere_are_fetched_from_there() {
    let digest = Some(Digest::of(b"a"));
    let at = |url: &str| {
        let mut spec = spec("a");
        (spec.file.url, spec.file.sha256) = (url.into(), digest);
        spec
    };
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![at("https://models.test/typo")]));
    bench.step(Event::FetchFailed { of, failure: Failure::permanent("SourceNotFound", "404") });
    let again = fetch(&bench.apply(vec![at("https://models.test/a")]));
    assert_eq!(again.instance, of.instance, "it is the same load");
    assert_eq!(bench.state.instances[&of.instance].failure, None);
    // Also while it is still being fetched from there.
    let effects = bench.apply(vec![at("https://mirror.test/a")]);
    let [Effect::StopFetch(stopped), Effect::Fetch { of: third, file }] = &effects[..] else {
        panic!("{effects:?}");
    };
    assert_eq!((*stopped, file.url.as_str()), (of.instance, "https://mirror.test/a"));
    bench.fetched(again);
    assert!(matches!(bench.stage("a"), Stage::Fetching { .. }), "what the first one says is void");
    let third = *third;
    bench.fetched(third);
    let of = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    bench.loaded(of);
    assert_eq!(bench.apply(vec![at("https://models.test/a")]), [], "what serves is left alone");
}

#[test]
fn what_cannot_fit_is_refused_and_leaves_the_others_alone() {
    let (mut bench, _) = Bench::ready("a");
    let mut big = spec("b");
    big.footprint = Footprint { weights: GIB, kv: 512 << 20, ..Footprint::default() };
    let of = fetch(&bench.apply(vec![spec("a"), big.clone()]));
    assert_eq!(bench.fetched(of), []);
    assert_eq!(bench.stage("a"), &Stage::Ready);
    let refused = bench.state.instances[&of.instance].failure.clone().unwrap();
    assert_eq!((refused.reason.as_str(), refused.permanent), ("OutOfMemory", false));
    for part in ["needs 1536 MiB", "weights 1024 MiB", "KV cache 512 MiB", "1024 MiB of the device is free"] {
        assert!(refused.message.contains(part), "{}", refused.message);
    }
    // Somebody else's memory came back.
    load(&bench.step(Event::Budget { device: "d0".into(), bytes: 2 * GIB, room: 3 * GIB, unusable: None }));
}

#[test]
fn memory_that_is_freed_is_used_at_once() {
    let gib = |bytes, room| Event::Budget {
        device: "d0".into(),
        bytes: bytes * GIB,
        room: room * GIB,
        unusable: None,
    };
    // Refused here: others used it.
    let mut bench = Bench::new();
    let mut big = spec("a");
    big.footprint.weights = 3 * GIB;
    let of = fetch(&bench.apply(vec![big]));
    bench.fetched(of);
    assert_eq!(bench.step(gib(1, 1)), [], "less is no reason");
    assert_eq!(bench.step(gib(2, 2)), [], "nor is more that is not enough");
    let effects = bench.step(gib(3, 3));
    assert!(matches!(effects[..], [Effect::StartEngine { .. }]), "{effects:?}");
    // Refused by the engine, whatever was planned.
    let of = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    bench.step(Event::LoadFailed { of, failure: Failure::transient(OUT_OF_MEMORY, "") });
    bench.step(Event::EngineDown { device: "d0".into(), failure: None });
    assert_eq!(bench.step(gib(3, 3)), [], "it fits by the plan, and would not again");
    assert!(matches!(bench.stage("a"), Stage::Waiting { not_before: Some(_) }));
    let effects = bench.step(gib(4, 4));
    assert!(matches!(effects[..], [Effect::StartEngine { .. }]), "{effects:?}");
}

#[test]
fn memory_that_another_model_leaves_is_used_at_once() {
    let (mut bench, old) = Bench::ready("a");
    let mut big = spec("b");
    big.footprint.weights = 2 * GIB;
    let of = fetch(&bench.apply(vec![spec("a"), big.clone()]));
    assert_eq!(bench.fetched(of), []);
    assert!(matches!(bench.stage("b"), Stage::Waiting { not_before: Some(_) }));
    bench.apply(vec![big]);
    bench.step(Event::Idle(old));
    let effects = bench.step(Event::Unloaded(old));
    assert!(matches!(effects[..], [Effect::Forget(_), Effect::Load { .. }]), "{effects:?}");
}

#[test]
fn slow_sources_keep_a_fast_one_waiting_only_for_a_while() {
    let mut bench = Bench::new();
    let ids = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let effects = bench.apply(ids.map(spec).to_vec());
    let [Effect::Fetch { of: a, .. }, Effect::Fetch { .. }] = effects[..] else { panic!("{effects:?}") };
    let until = |bench: &Bench| bench.state.next_deadline(bench.now).map(|at| at - bench.now);
    assert_eq!(until(&bench), Some(FETCH_STANDS_ASIDE));
    assert_eq!(bench.pass(FETCH_STANDS_ASIDE - Duration::from_millis(1)), []);
    let began = |effects: Vec<Effect>| effects.iter().filter(|e| matches!(e, Effect::Fetch { .. })).count();
    for _ in 0..3 {
        assert_eq!(began(bench.pass(FETCH_STANDS_ASIDE)), 2);
    }
    // As many as there may be at all, however long they take.
    assert_eq!(began(bench.pass(FETCH_STANDS_ASIDE)), 0);
    assert!(
        until(&bench).is_some_and(|until| until > Duration::from_secs(60)),
        "it spins: {:?}",
        until(&bench)
    );
    assert_eq!(began(bench.fetched(a)), 1, "one that is done makes room");
}

#[test]
fn no_engine_is_started_for_what_cannot_fit() {
    let mut bench = Bench::new();
    let mut big = spec("a");
    big.footprint.weights = 3 * GIB;
    let of = fetch(&bench.apply(vec![big]));
    assert_eq!(bench.fetched(of), []);
    assert_eq!(bench.state.devices["d0"].engine, EngineState::Stopped);
}

#[test]
fn a_device_that_is_not_there_is_said() {
    let mut bench = Bench::new();
    let mut elsewhere = spec("a");
    elsewhere.device = "d9".into();
    assert_eq!(bench.apply(vec![elsewhere]), []);
    assert_eq!(bench.stage("a"), &Stage::Failed { retry_at: None });
}

#[test]
fn a_load_that_takes_too_long_is_ended_and_said() {
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![spec("a")]));
    bench.fetched(of);
    load(&bench.step(Event::EngineUp { device: "d0".into() }));
    let effects = bench.pass(Duration::from_secs(600));
    assert_eq!(effects, [Effect::Unload { instance: of.instance, device: "d0".into() }]);
    bench.step(Event::Unloaded(of.instance));
    assert!(matches!(bench.stage("a"), Stage::Failed { retry_at: Some(_) }));
    let reason = bench.state.instances[&of.instance].failure.clone().unwrap().reason;
    assert_eq!(reason, "LoadTimeout");
}

#[test]
fn removed_while_it_loads() {
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![spec("a")]));
    bench.fetched(of);
    let loading = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    assert_eq!(bench.apply(vec![]), [Effect::Unload { instance: of.instance, device: "d0".into() }]);
    // It may have finished just then.
    assert_eq!(bench.loaded(loading), []);
    let effects = bench.step(Event::Unloaded(of.instance));
    assert_eq!(effects[0], Effect::Forget(of.instance));
}

#[test]
fn an_unusable_device_loads_nothing() {
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![spec("a")]));
    let unusable = Some(Failure::transient("DeviceLost", ""));
    bench.step(Event::Budget { device: "d0".into(), bytes: 0, room: 0, unusable });
    assert_eq!(bench.fetched(of), []);
    let effects =
        bench.step(Event::Budget { device: "d0".into(), bytes: 2 * GIB, room: 2 * GIB, unusable: None });
    assert!(matches!(effects[..], [Effect::StartEngine { .. }]));
}

#[test]
fn leaving_begins_nothing() {
    let mut bench = Bench::new();
    bench.step(Event::Leaving);
    assert_eq!(bench.apply(vec![spec("a")]), []);
}

/// What the world may do next, in any order that effects allow for or do not.
#[derive(Clone, Debug)]
enum Move {
    Apply(Vec<u8>),
    Answer(usize, bool),
    Crash,
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        prop::collection::vec(0u8..4, 0..4).prop_map(Move::Apply),
        (0usize..8, prop::bool::weighted(0.8)).prop_map(|(n, well)| Move::Answer(n, well)),
        (0usize..8, prop::bool::weighted(0.8)).prop_map(|(n, well)| Move::Answer(n, well)),
        (0usize..8, Just(true)).prop_map(|(n, well)| Move::Answer(n, well)),
        Just(Move::Crash),
        (0u64..400).prop_map(Move::Wait),
    ];
    prop::collection::vec(one, 1..60)
}

/// The answer to an effect.
fn answer(effect: Effect, well: bool) -> Option<Event> {
    let failure = || Failure::transient("Chance", "");
    Some(match effect {
        Effect::Fetch { of, .. } if well => Event::Fetched { of, file: file() },
        Effect::Fetch { of, .. } => Event::FetchFailed { of, failure: failure() },
        Effect::StartEngine { device, .. } if well => Event::EngineUp { device },
        Effect::StartEngine { device, .. } => Event::EngineDown { device, failure: Some(failure()) },
        Effect::StopEngine { device } => Event::EngineDown { device, failure: None },
        Effect::Load { of, .. } if well => Event::Loaded { of, measured: Footprint::default() },
        Effect::Load { of, .. } => Event::LoadFailed { of, failure: failure() },
        Effect::Drain(id) => Event::Idle(id),
        Effect::Unload { instance, .. } => Event::Unloaded(instance),
        Effect::StopFetch(_) | Effect::Forget(_) => return None,
    })
}

proptest! {
    /// Whatever happens in between: once answers come and nothing fails, the
    /// worker holds exactly the set in force, and at most one load ran at a time.
    #[test]
    fn ends_with_the_set_in_force(moves in moves()) {
        let mut bench = Bench::new();
        bench.step(Event::Budget { device: "d0".into(), bytes: 64 * GIB, room: 64 * GIB, unusable: None });
        let mut pending: Vec<Effect> = Vec::new();
        let mut wanted: Vec<String> = Vec::new();
        for next in moves {
            let effects = match next {
                Move::Apply(ids) => {
                    wanted = ids.iter().map(|n| format!("r{n}")).collect();
                    wanted.sort();
                    wanted.dedup();
                    bench.apply(wanted.iter().map(|id| spec(id)).collect())
                }
                Move::Answer(..) if pending.is_empty() => continue,
                Move::Answer(n, well) => {
                    let effect = pending.remove(n % pending.len());
                    answer(effect, well).map(|e| bench.step(e)).unwrap_or_default()
                }
                Move::Crash => {
                    pending.retain(|e| !matches!(e, Effect::StartEngine { .. } | Effect::StopEngine { .. }));
                    bench.step(crash())
                }
                Move::Wait(s) => bench.pass(Duration::from_secs(s)),
            };
            pending.extend(effects);
            let loading =
                bench.state.instances.values().filter(|i| matches!(i.stage, Stage::Loading { .. })).count();
            prop_assert!(loading <= 1);
        }
        for _ in 0..400 {
            let effects = if pending.is_empty() {
                bench.pass(Duration::from_secs(301))
            } else {
                let effect = pending.remove(0);
                answer(effect, true).map(|e| bench.step(e)).unwrap_or_default()
            };
            pending.extend(effects);
        }
        let held: Vec<_> = bench.state.instances.values().map(|i| (i.spec.id.clone(), i.stage.clone())).collect();
        let mut ready: Vec<_> =
            held.iter().filter(|(_, s)| *s == Stage::Ready).map(|(id, _)| id.clone()).collect();
        ready.sort();
        prop_assert_eq!(&ready, &wanted, "{:?}", held);
        prop_assert_eq!(held.len(), wanted.len());
    }
}
