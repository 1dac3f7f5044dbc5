//! Letting go of a request ends it, and what it held is there for the next.

use std::sync::mpsc;

use hearth_engine::{Gone, Item};

use crate::subject::{Answer, Stream, Subject, drain, greedy, release, wait};

/// Dropping `Cancel` ends a request with nothing in between,
/// and as often as there are places.
pub(crate) fn a_dropped_handle_cancels_within_a_step(subject: Subject) {
    for _ in 0..=subject.places() {
        let (stream, go) = subject.ask_held(greedy("cancel me", 100));
        let answer = stream.cancel_with(go);
        answer.aborted();
        assert_eq!(answer.deltas, 1, "the step that was under way, and no other");
    }
    subject.is_alive();
}

/// A sink that answers `Gone` hears nothing more, and its place is free.
pub(crate) fn a_listener_that_is_gone_frees_its_place(subject: Subject) {
    for _ in 0..=subject.places() {
        let (sender, items) = mpsc::channel();
        let sink = move |item: Item| {
            sender.send(item).map_err(|_| Gone)?;
            Err(Gone)
        };
        let id = &subject.spec.id;
        let cancel = subject.engine.generate(id, greedy("nobody listens", 100), Box::new(sink));
        assert!(matches!(wait(&items), Item::Delta { .. }));
        assert!(items.recv().is_err(), "the sink is let go without another word");
        drop(cancel);
    }
    subject.is_alive();
}

/// A request that is let go before its turn ends without an output.
pub(crate) fn a_waiting_request_is_cancelled(subject: Subject) {
    let (running, go) = subject.ask_held(greedy("I hold the engine", 4));
    let Stream { cancel, items } = subject.ask(greedy("I wait", 4));
    drop(cancel);
    release(go);
    let cancelled = Answer::new(drain(&items));
    cancelled.aborted();
    assert_eq!(cancelled.deltas, 0);
    running.answer().finished();
    subject.is_alive();
}

/// When the last handle goes, what runs and what waits ends.
pub(crate) fn dropping_the_engine_aborts(subject: Subject) {
    let (running, go) = subject.ask_held(greedy("I run", 100));
    let others = (0..subject.places()).map(|_| subject.ask(greedy("so do I", 100))).collect::<Vec<_>>();
    drop(subject);
    release(go);
    let running = running.answer();
    running.aborted();
    assert_eq!(running.deltas, 1);
    for other in others {
        // How far it came before the end is not said, only that it ends.
        assert!(other.answer().end.is_err());
    }
}
