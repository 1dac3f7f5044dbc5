//! Pages that requests share, and pages that there are too few of.

use hearth_program::{PAGE_TOKENS, PREFILL_CHUNK, Stage};

use crate::{FinishReason, Item};

use super::bench::{Ask, BYTES, Bench, Setup};
use super::script::Seen;

const LAST: Stage = Stage::Prefill { last: true };

fn letters(_: &[u32]) -> u32 {
    BYTES + u32::from(b'a')
}

/// Depends on the text, and never ends.
fn endless(tokens: &[u32]) -> u32 {
    BYTES + tokens.iter().fold(7u32, |mixed, token| mixed.wrapping_mul(31).wrapping_add(*token)) % 128
}

/// A text of some length that begins like others of its kind.
fn text(len: usize, kind: u32) -> Vec<u32> {
    (0..len as u32).map(|at| BYTES + (at * 7 + kind) % 200).collect()
}

#[test]
fn a_prompt_that_was_read_before_is_read_from_its_last_page_on() {
    let mut bench = Bench::new(2, letters);
    let prompt = text(300, 0);
    let first = bench.submit(Ask::of(&prompt, 2));
    bench.step_to_the_end();
    let second = bench.submit(Ask::of(&prompt, 2));
    let steps = bench.step_to_the_end();
    // 9 pages are 288 tokens.
    assert_eq!((steps[0][0].start, steps[0][0].len, steps[0][0].stage), (288, 12, LAST));
    assert_eq!((bench.cached(first), bench.cached(second)), (0, 288));
    assert_eq!(bench.ids(first), bench.ids(second));

    let salted = bench.submit(Ask { salt: "another", ..Ask::of(&prompt, 2) });
    bench.step_to_the_end();
    assert_eq!(bench.cached(salted), 0);
}

#[test]
fn a_prompt_of_whole_pages_is_read_but_for_the_last() {
    let mut bench = Bench::new(1, letters);
    let prompt = text(4 * PAGE_TOKENS, 0);
    for cached in [0, 3 * PAGE_TOKENS] {
        let number = bench.submit(Ask::of(&prompt, 2));
        bench.step_to_the_end();
        assert_eq!(bench.cached(number), cached);
    }
}

#[test]
fn an_answer_is_found_in_the_next_prompt_if_stages_agree() {
    for (stages_differ, cached) in [(false, 160), (true, 96)] {
        let setup = Setup { stages_differ, ..Setup::new(1, endless) };
        let mut bench = setup.build();
        let mut talk = text(100, 0);
        let first = bench.submit(Ask::of(&talk, 70));
        bench.step_to_the_end();
        talk.extend(bench.ids(first));
        talk.extend(text(10, 3));
        let second = bench.submit(Ask::of(&talk, 5));
        bench.step_to_the_end();
        assert_eq!(bench.cached(second), cached);
        assert_eq!(bench.ids(second), setup.alone(&talk, 5).0);
    }
}

#[test]
fn two_that_run_side_by_side_share_what_both_have_read() {
    let mut bench = Bench::new(2, letters);
    let prompt = text(2 * PREFILL_CHUNK + 1, 0);
    for _ in 0..2 {
        bench.submit(Ask::of(&prompt, 20));
    }
    for _ in 0..6 {
        bench.step();
    }
    let whole = Bench::pages(2 * PREFILL_CHUNK);
    assert_eq!(bench.held(), whole + 2, "a last page each");
}

#[test]
fn nobody_runs_without_pages_for_the_prompt() {
    // Room for one context, and places for many.
    let mut bench = Setup { sequences: 1, ..Setup::new(4, letters) }.build();
    let long = bench.submit(Ask::new(400, 3));
    let other = bench.submit(Ask::new(200, 3));
    let short = bench.submit(Ask::new(5, 3));
    bench.step();
    assert_eq!(
        bench.batcher.running.len(),
        1,
        "12 pages are wanted, 7 more are not there, and nobody jumps the queue"
    );
    bench.step_to_the_end();
    for number in [long, other, short] {
        assert_eq!(bench.ids(number).len(), 3);
    }
    assert_eq!(bench.held(), 0);
}

#[test]
fn the_youngest_is_set_aside_and_says_the_same() {
    for stages_differ in [false, true] {
        // 16 pages, of which each of four wants 8 in the end.
        let setup = Setup { sequences: 1, stages_differ, ..Setup::new(4, endless) };
        let mut bench = setup.build();
        let numbers = (0..4).map(|_| bench.submit(Ask::new(40, 200))).collect::<Vec<_>>();
        let mut set_aside = 0;
        let mut running = 0;
        while !bench.batcher.is_idle() {
            let rows = bench.step();
            set_aside += usize::from(bench.batcher.running.len() < running);
            running = bench.batcher.running.len();
            let oldest = bench.batcher.running.first().map(|first| first.sequence.tokens[0] - BYTES);
            let oldest_of_rows = rows.first().map(|row: &Seen| row.request);
            assert!(oldest.is_none() || oldest_of_rows <= oldest, "the oldest goes on");
        }
        assert!(set_aside >= 2, "there were too few pages");
        for number in numbers {
            let (expected, _) = setup.alone(&bench.requests[number].prompt, 200);
            assert_eq!(bench.ids(number), expected, "{number}");
            let Some(Item::Finish { reason, usage, .. }) = bench.items(number).pop() else {
                panic!("no end")
            };
            assert_eq!((reason, usage.completion_tokens), (FinishReason::Length, 200));
            assert_eq!((usage.prompt_tokens, usage.cached_tokens), (40, 0));
        }
        assert_eq!(bench.held(), 0);
    }
}

#[test]
fn a_window_holds_no_more_than_it_sees() {
    let setup = Setup { windows: vec![40], ..Setup::new(1, endless) };
    let mut bench = setup.build();
    let number = bench.submit(Ask::new(300, 100));
    let most = bench.batcher.pool.occupancy()[1].total;
    while !bench.batcher.is_idle() {
        bench.step();
        let [whole, sliding] = bench.batcher.pool.occupancy()[..] else { panic!("two groups") };
        assert!(sliding.held() <= most.min(whole.held()));
        if bench.ids(number).len() > 1 && !bench.batcher.is_idle() {
            assert!(sliding.held() <= 3, "40 tokens are on three pages at the most");
        }
    }
    assert_eq!(bench.ids(number), setup.alone(&bench.requests[number].prompt, 100).0);
}
