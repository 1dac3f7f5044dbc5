//! Requests beside each other.

use std::collections::BTreeSet;

use hearth_engine::{Item, Request, RequestError, Sampling, Stop};
use hearth_program::PREFILL_CHUNK;

use crate::subject::{Answer, Subject, greedy, tokens};

/// The items of `nth` among all.
fn answer(all: &[(usize, Item)], nth: usize) -> Answer {
    Answer::new(all.iter().filter(|(of, _)| *of == nth).map(|(_, item)| item.clone()).collect())
}

/// No more run than there are places, and whoever waits has its turn.
pub(crate) fn more_requests_than_places_queue(subject: Subject) {
    let requests = (0..3 * subject.places() as u32).map(|nth| greedy(&format!("number {nth}"), 4 + nth % 5));
    let requests = requests.collect::<Vec<_>>();
    let all = subject.ask_all(requests.clone());
    let mut running = BTreeSet::new();
    for (nth, item) in &all {
        if item.is_terminal() {
            running.remove(nth)
        } else {
            running.insert(*nth)
        };
        assert!(running.len() <= subject.places(), "{running:?} run at the same time");
    }
    for (nth, request) in requests.iter().enumerate() {
        let answer = answer(&all, nth);
        answer.finished();
        assert_eq!(Some(answer.ids.len() as u32), request.stop.max_tokens);
    }
}

/// Many more than an engine takes: all end, and those that it does not take are
/// told that it is busy.
pub(crate) fn many_requests_all_end(subject: Subject) {
    const MANY: usize = 200;
    let all = subject.ask_all(vec![greedy("one of many", 2); MANY]);
    let answers = (0..MANY).map(|nth| answer(&all, nth)).collect::<Vec<_>>();
    let refused = answers.iter().filter_map(|answer| answer.end.as_ref().err());
    for error in refused.clone() {
        assert!(matches!(error, RequestError::Busy { .. }), "{error}");
    }
    assert!(refused.count() < MANY - subject.places(), "hardly any was answered");
    subject.is_alive();
}

/// A request has the same output alone and beside others, whether its prompt is
/// read in one piece or in several.
pub(crate) fn company_changes_nothing(subject: Subject) {
    let sampled = Sampling { temperature: 1.0, seed: Some(9), ..Sampling::default() };
    let requests = vec![
        greedy("a short prompt", 20),
        Request { input: tokens(PREFILL_CHUNK + 20), ..greedy("", 12) },
        Request { sampling: sampled, ..greedy("a seed belongs to its request", 25) },
        greedy("the last of them", 7),
        Request { input: tokens(PREFILL_CHUNK), ..greedy("", 9) },
    ];
    let alone = requests.iter().map(|request| subject.ask(request.clone()).answer()).collect::<Vec<_>>();
    for turn in 0..requests.len() {
        // Each has others in front of it and beside it.
        let mut turned = requests.clone();
        turned.rotate_left(turn);
        let all = subject.ask_all(turned);
        for nth in 0..requests.len() {
            let (expected, beside) = (&alone[(nth + turn) % requests.len()], answer(&all, nth));
            assert_eq!(beside.ids, expected.ids);
            assert_eq!(beside.text, expected.text);
            let (expected, beside) = (expected.finished(), beside.finished());
            assert_eq!(beside.reason, expected.reason);
            assert_eq!(beside.usage.completion_tokens, expected.usage.completion_tokens);
        }
    }
}

/// The same seed gives the same output; among other seeds there is another one.
pub(crate) fn seeds_repeat_and_differ(subject: Subject) {
    let ids = |seed| {
        let sampling = Sampling { temperature: 1.0, seed: Some(seed), ..Sampling::default() };
        subject.ask(Request { sampling, ..greedy("roll the dice", 16) }).answer().ids
    };
    let outputs = (0..6).map(ids).collect::<Vec<_>>();
    assert_eq!((0..6).map(ids).collect::<Vec<_>>(), outputs);
    assert!(outputs.iter().any(|output| *output != outputs[0]), "every seed gives {:?}", outputs[0]);
}

/// Temperature 0 has no use for a seed.
pub(crate) fn greedy_ignores_the_seed(subject: Subject) {
    let ids = |seed| {
        let sampling = Sampling { seed, ..Sampling::greedy() };
        let stop = Stop { max_tokens: Some(12), ..Stop::default() };
        subject.ask(Request { sampling, stop, ..greedy("no dice", 0) }).answer().ids
    };
    assert_eq!(ids(None), ids(Some(1)));
    assert_eq!(ids(Some(1)), ids(Some(2)));
}
