//! Whatever comes, in whatever order.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::{FinishReason, Item, RequestError};
use hearth_program::{PREFILL_CHUNK, Stage};

use super::bench::{Ask, BYTES, Bench, CONTEXT, END, Setup};
use super::script::Seen;

#[derive(Clone, Debug)]
enum Op {
    Submit(Box<Ask>),
    Steps(usize),
    Cancel(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    let prompt = prop_oneof![1usize..8, 1..CONTEXT, Just(PREFILL_CHUNK), Just(CONTEXT - 1)];
    let ask = (prompt, 1u32..12, prop::option::weighted(0.1, 1usize..6))
        .prop_map(|(prompt, tokens, gone_after)| Ask { gone_after, ..Ask::new(prompt, tokens) });
    prop_oneof![
        4 => ask.prop_map(|ask| Op::Submit(Box::new(ask))),
        4 => (1usize..6).prop_map(Op::Steps),
        1 => any::<prop::sample::Index>().prop_map(Op::Cancel),
    ]
}

/// Depends on all tokens, so that pages that are mixed up show.
pub(super) fn next(tokens: &[u32]) -> u32 {
    let mixed = tokens.iter().fold(17u32, |mixed, token| mixed.wrapping_mul(31).wrapping_add(*token));
    if mixed % 13 == 0 { END } else { BYTES + mixed % 128 }
}

/// What holds after every step.
fn check_step(bench: &Bench, places: usize, rows: &[Seen], cancelled: &BTreeSet<usize>) {
    let running = bench.batcher.running.len();
    assert!(running <= places);
    if running == 0 {
        assert_eq!(bench.held(), 0, "pages for those that run, and no other");
    }

    assert!(rows.len() <= places);
    assert_eq!(rows.iter().map(|row| row.request).collect::<BTreeSet<_>>().len(), rows.len());
    assert!(rows.iter().filter(|row| row.stage != Stage::Decode).count() <= 1, "one piece of one prompt");
    for row in rows {
        let (end, prompt) = (row.start + row.len, bench.requests[row.request as usize].prompt.len());
        match row.stage {
            Stage::Decode => assert!(row.len == 1 && row.start >= prompt),
            Stage::Prefill { last } => {
                assert!(row.start % 16 == 0 && row.len <= PREFILL_CHUNK);
                assert_eq!(last, end == prompt);
                assert!(last || end % 16 == 0);
            }
        }
    }

    // First come, first served: nobody who runs came after somebody who waits.
    let waiting = bench.batcher.waiting.iter().map(|one| one.tokens[0] - BYTES).collect::<Vec<_>>();
    assert!(waiting.is_sorted());
    if let Some(first) = waiting.first() {
        assert!(rows.iter().all(|row| row.request < *first));
    }

    for number in cancelled {
        assert!(!rows.iter().any(|row| row.request as usize == *number), "{number} was cancelled");
    }
}

pub(super) fn check_end(bench: &Bench, setup: &Setup, asks: &[Ask], cancelled: &BTreeSet<usize>) {
    for (number, ask) in asks.iter().enumerate() {
        let items = bench.items(number);
        let prompt = &bench.requests[number].prompt;
        let (expected, ends) = setup.alone(prompt, ask.stop.max_tokens.unwrap() as usize);
        let ids = bench.ids(number);
        assert!(expected.starts_with(&ids), "{ids:?} beside others, {expected:?} alone");
        let terminal = items.iter().filter(|item| item.is_terminal()).count();
        match items.last() {
            Some(Item::Finish { reason, usage, .. }) => {
                assert_eq!((ids.len(), *reason), (expected.len(), ends));
                assert_eq!(usage.prompt_tokens as usize, prompt.len());
                assert_eq!(
                    usage.completion_tokens as usize,
                    ids.len() + usize::from(ends == FinishReason::Stop)
                );
                assert_eq!(terminal, 1);
            }
            Some(Item::Failed(error)) => {
                match error {
                    RequestError::Busy { .. } => assert!(ids.is_empty()),
                    RequestError::Aborted { .. } => assert!(cancelled.contains(&number)),
                    other => panic!("{other}"),
                }
                assert_eq!(terminal, 1);
            }
            // Nothing follows after a listener has gone.
            Some(Item::Delta { .. }) => assert_eq!(Some(items.len()), ask.gone_after),
            None => panic!("{number} never ended"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_once_and_leaves_nothing(places in 1usize..5, ops in prop::collection::vec(op(), 1..120)) {
        let setup = Setup::new(places, next);
        let mut bench = setup.build();
        let (mut asks, mut cancelled) = (Vec::new(), BTreeSet::new());
        for op in ops {
            match op {
                Op::Submit(ask) => {
                    asks.push(Ask::clone(&ask));
                    bench.submit(*ask);
                }
                Op::Steps(steps) => {
                    for _ in 0..steps {
                        let rows = bench.step();
                        check_step(&bench, places, &rows, &cancelled);
                    }
                }
                Op::Cancel(which) => {
                    if !asks.is_empty() {
                        let number = which.index(asks.len());
                        bench.cancel(number);
                        cancelled.insert(number);
                    }
                }
            }
        }
        while !bench.batcher.is_idle() {
            let rows = bench.step();
            check_step(&bench, places, &rows, &cancelled);
        }
        check_end(&bench, &setup, &asks, &cancelled);
        prop_assert_eq!(bench.held(), 0);
    }
}
