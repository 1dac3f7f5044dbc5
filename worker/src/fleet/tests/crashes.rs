//! Engine processes that end unasked.

use std::time::Duration;

use super::{Bench, crash, fetch, load};
use crate::fleet::death::NOT_ENDED;
use crate::fleet::event::{Effect, Event, InstanceId};
use crate::fleet::expire::STABLE_AFTER;
use crate::fleet::state::{Stage, UNHEALTHY_DEATHS};
use crate::spec::Failure;
use crate::spec::tests::spec;

#[test]
fn a_crash_reloads_from_the_file_that_is_here() {
    let (mut bench, id) = Bench::ready("a");
    let effects = bench.step(crash());
    let at = bench.now + Duration::from_secs(1);
    assert_eq!(effects, [Effect::StartEngine { device: "d0".into(), at }]);
    assert_eq!(bench.stage("a"), &Stage::Fetched);
    let of = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    assert_eq!(of.instance, id);
    bench.loaded(of);
    assert!(bench.state.instances[&id].failure.is_none());
    // One load proves nothing yet.
    assert_eq!(bench.state.devices["d0"].deaths, 1);
    assert_eq!(bench.state.next_deadline(bench.now), Some(bench.now + STABLE_AFTER));
    bench.pass(STABLE_AFTER);
    assert_eq!(bench.state.devices["d0"].deaths, 0);
    assert_eq!(bench.state.next_deadline(bench.now), None);
}

#[test]
fn crashes_in_a_row_slow_the_restarts_down() {
    let (mut bench, _) = Bench::ready("a");
    for seconds in [1, 2, 4, 8] {
        let effects = bench.step(crash());
        let at = bench.now + Duration::from_secs(seconds);
        assert_eq!(effects, [Effect::StartEngine { device: "d0".into(), at }]);
    }
}

#[test]
fn what_an_earlier_try_says_is_void() {
    let mut bench = Bench::new();
    let of = fetch(&bench.apply(vec![spec("a")]));
    bench.fetched(of);
    let first = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    bench.step(crash());
    bench.pass(Duration::from_secs(10));
    let second = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    assert_ne!(first, second);
    bench.step(Event::LoadFailed { of: first, failure: Failure::permanent("Late", "") });
    bench.loaded(first);
    assert!(matches!(bench.stage("a"), Stage::Loading { .. }));
    bench.loaded(second);
    assert_eq!(bench.stage("a"), &Stage::Ready);
}

#[test]
fn a_model_whose_load_ends_the_engine_is_held_back_ever_longer() {
    let (mut bench, a) = Bench::ready("a");
    let of = fetch(&bench.apply(vec![spec("a"), spec("b")]));
    let mut of = load(&bench.fetched(of));
    for seconds in [10, 40, 160] {
        let effects = bench.step(crash());
        assert!(matches!(effects[..], [Effect::StartEngine { .. }]), "{effects:?}");
        let message = |id: &InstanceId| bench.state.instances[id].failure.clone().unwrap().message;
        assert!(
            message(&of.instance).contains(&format!("held back for {seconds} s")),
            "{}",
            message(&of.instance)
        );
        assert!(message(&a).contains("loading replica \"b\""), "{}", message(&a));
        let neighbour = load(&bench.step(Event::EngineUp { device: "d0".into() }));
        assert_eq!(neighbour.instance, a);
        bench.loaded(neighbour);
        assert_eq!(bench.pass(Duration::from_secs(seconds) - Duration::from_millis(1)), []);
        of = load(&bench.pass(Duration::from_millis(1)));
    }
    // The device answered in between: it is not what is broken.
    assert!(bench.state.devices["d0"].deaths < UNHEALTHY_DEATHS);
    bench.loaded(of);
    assert_eq!(bench.state.instances[&of.instance].kills, 0);
}

#[test]
fn a_process_that_cannot_be_ended_makes_the_device_unhealthy_at_once() {
    let (mut bench, _) = Bench::ready("a");
    let failure = Some(Failure::transient(NOT_ENDED, "it hangs in the driver"));
    bench.step(Event::EngineDown { device: "d0".into(), failure });
    assert!(bench.state.devices["d0"].deaths >= UNHEALTHY_DEATHS);
}

#[test]
fn a_file_on_a_claim_is_looked_at_again_before_it_is_loaded_again() {
    let mut bench = Bench::new();
    let mut mounted = spec("a");
    mounted.file.url = "pvc://models/a.gguf".into();
    let of = fetch(&bench.apply(vec![mounted]));
    bench.fetched(of);
    let of = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    bench.loaded(of);
    let again = fetch(&bench.step(crash()));
    assert!(matches!(bench.fetched(again)[..], [Effect::StartEngine { .. }]));
    let of = load(&bench.step(Event::EngineUp { device: "d0".into() }));
    let failure = Failure::transient("FileUnreadable", "");
    bench.step(Event::LoadFailed { of, failure });
    // The process that nothing needs goes, the file is looked at again.
    let effects = bench.pass(Duration::from_secs(1));
    assert!(effects.iter().any(|e| matches!(e, Effect::Fetch { .. })), "{effects:?}");
}
