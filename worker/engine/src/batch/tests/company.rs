//! Whatever runs beside a request, it says what it says alone.

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_program::{PAGE_TOKENS, PREFILL_CHUNK};
use proptest::prelude::*;

use super::bench::{Ask, BYTES, Prompt, Setup};
use super::property::{check_end, next};

#[derive(Clone, Debug)]
enum Op {
    Submit(Box<Ask>),
    Steps(usize),
    Cancel(prop::sample::Index),
}

const CONTEXT: usize = 6 * PAGE_TOKENS + PREFILL_CHUNK;

/// Texts that begin alike.
fn prompt() -> impl Strategy<Value = Prompt> {
    (0..3u32, 1..CONTEXT, any::<bool>()).prop_map(|(kind, len, fork)| {
        let own = if fork { len as u32 } else { 0 };
        let token = |at: usize| if at + 3 < len { BYTES + kind } else { BYTES + own % 200 };
        Prompt::Tokens((0..len).map(token).collect())
    })
}

fn op() -> impl Strategy<Value = Op> {
    let ask = (prompt(), 1u32..150, prop::option::weighted(0.1, 1usize..20), 0usize..9, any::<bool>())
        .prop_map(|(prompt, tokens, gone_after, guesses, salted)| Ask {
            prompt,
            gone_after,
            guesses,
            salt: if salted { "salt" } else { "" },
            ..Ask::new(1, tokens)
        });
    prop_oneof![
        4 => ask.prop_map(|ask| Op::Submit(Box::new(ask))),
        4 => (1usize..12).prop_map(Op::Steps),
        1 => any::<prop::sample::Index>().prop_map(Op::Cancel),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let windows = prop_oneof![Just(vec![]), (2usize..200).prop_map(|window| vec![window])];
    (1u32..3, 1usize..7, windows, any::<bool>(), 1usize..3, 1u64..800, any::<bool>()).prop_map(
        |(sequences, places, windows, stages_differ, prefill_rows, step, repeats)| Setup {
            sequences,
            windows,
            context: CONTEXT,
            stages_differ,
            prefill_rows,
            step: Duration::from_micros(step),
            ..Setup::new(places, if repeats { repeating } else { next })
        },
    )
}

/// Says a few things over and over, with a slip now and then, so that guesses are
/// right and wrong.
fn repeating(tokens: &[u32]) -> u32 {
    let mixed = tokens.iter().fold(17u32, |mixed, token| mixed.wrapping_mul(31).wrapping_add(*token));
    if mixed % 11 == 0 { BYTES + mixed % 100 } else { BYTES + tokens.len() as u32 % 5 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn company_pages_guesses_and_pace_change_nothing(
        setup in setup(), ops in prop::collection::vec(op(), 1..30),
    ) {
        let mut bench = setup.build();
        let (mut asks, mut cancelled) = (Vec::new(), BTreeSet::new());
        let mut work = 0;
        for op in ops {
            match op {
                Op::Submit(ask) => {
                    let Prompt::Tokens(prompt) = &ask.prompt else { unreachable!() };
                    work += prompt.len() + ask.stop.max_tokens.unwrap() as usize;
                    asks.push(Ask::clone(&ask));
                    bench.submit(*ask);
                }
                Op::Steps(steps) => {
                    for _ in 0..steps {
                        bench.step();
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
        let mut steps = 0;
        while !bench.batcher.is_idle() {
            let oldest = bench.batcher.running.first().map(|first| first.sequence.number);
            bench.step();
            if let Some(now) = bench.batcher.running.first() {
                prop_assert!(oldest.is_none_or(|oldest| oldest <= now.sequence.number), "the oldest was set aside");
            }
            steps += 1;
            // Each step does something, and what is done twice was done by one that
            // was younger than another that got something done by it.
            prop_assert!(steps <= 64 * (work + 1), "it does not come to an end");
        }
        check_end(&bench, &setup, &asks, &cancelled);
        prop_assert_eq!(bench.held(), 0);
        bench.batcher.pool.forget();
        prop_assert!(bench.batcher.pool.occupancy().iter().all(|group| group.free == group.total));
    }
}
