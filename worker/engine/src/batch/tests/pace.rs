//! How long steps take.

use std::time::Duration;

use hearth_program::{PREFILL_CHUNK, Stage};

use crate::batch::Clock;

use super::bench::{Ask, BYTES, CONTEXT, Setup};
use super::script::Costs;

fn letters(_: &[u32]) -> u32 {
    BYTES + u32::from(b'a')
}

/// A step of one decode takes 110 µs, with a piece beside it 238 µs.
fn setup(step: u64) -> Setup {
    Setup { step: Duration::from_micros(step), ..Setup::new(8, letters) }
}

/// Steps while long prompts arrive beside one that decodes: microseconds of each, and
/// how many there were before all prompts were read.
fn gaps(setup: &Setup) -> Vec<u64> {
    let mut bench = setup.build();
    bench.submit(Ask::new(1, 400));
    for _ in 0..30 {
        bench.step();
    }
    // The first prompt shows what a piece takes.
    bench.submit(Ask::new(2 * PREFILL_CHUNK, 1));
    while bench.batcher.running.len() > 1 || !bench.batcher.waiting.is_empty() {
        bench.step();
    }
    let numbers = (0..3).map(|_| bench.submit(Ask::new(CONTEXT - 10, 1))).collect::<Vec<_>>();
    let mut gaps = Vec::new();
    while numbers.iter().any(|number| bench.items(*number).is_empty()) {
        let before = bench.log.now();
        let rows = bench.step();
        assert!(rows.iter().any(|row| row.stage == Stage::Decode), "who decodes is in every step");
        gaps.push((bench.log.now() - before).as_micros() as u64);
        assert!(gaps.len() < 390, "prompts are not read");
    }
    gaps
}

#[test]
fn prompts_are_read_at_once_where_a_step_has_time() {
    let setup = setup(300);
    let gaps = gaps(&setup);
    let pieces = 3 * (CONTEXT - 10).div_ceil(PREFILL_CHUNK);
    assert_eq!(gaps.len(), pieces + 1, "the last prompt has as much time as the one that decodes");
    assert!(gaps.iter().all(|gap| *gap <= 300), "{gaps:?}");
}

#[test]
fn several_pieces_are_read_where_the_program_takes_them() {
    let setup = Setup { prefill_rows: 8, ..setup(380) };
    let gaps = gaps(&setup);
    assert!(gaps.iter().all(|gap| *gap <= 380), "{gaps:?}");
    assert!(gaps.len() <= 8, "two pieces a step: {gaps:?}");
}

#[test]
fn prompts_are_cut_to_the_time_of_a_step() {
    let gaps = gaps(&setup(195));
    assert!(gaps.iter().all(|gap| *gap <= 195), "{gaps:?}");
    assert_eq!(gaps.len(), 3 * (CONTEXT - 10).div_ceil(80), "80 tokens take 190 µs");
}

#[test]
fn prompts_slow_others_down_no_more_than_they_may() {
    let gaps = gaps(&Setup { pace: 2.0, ..setup(1_000_000) });
    assert!(gaps.iter().all(|gap| *gap <= 220), "{gaps:?}");
    assert!(gaps.len() <= 3 * (CONTEXT - 10).div_ceil(96) + 1, "96 tokens take 206 µs: {gaps:?}");
}

#[test]
fn where_not_even_the_least_fits_prompts_are_read_now_and_then() {
    let gaps = gaps(&Setup { pace: 1.05, ..setup(1_000_000) });
    let pieces = gaps.iter().filter(|gap| **gap > 115).count();
    assert_eq!(pieces, 3 * (CONTEXT - 10).div_ceil(16), "16 tokens take 126 µs");
    assert!(gaps.iter().all(|gap| *gap <= 126), "{gaps:?}");
    let mean = gaps.iter().sum::<u64>() / gaps.len() as u64;
    assert!((112..=118).contains(&mean), "steps keep their time on average: {mean}");
}

/// Sixty-four callers who ask again as soon as they are answered, one of eight for two
/// thousand tokens: however the times of steps vary with what comes, hardly anybody waits
/// longer than three usual steps for a token.
#[test]
fn many_callers_hardly_ever_wait_for_a_token() {
    // As a small model on two processors.
    let costs = Costs { step: 5000, decode: 1000, read: 500 };
    let setup = Setup {
        context: 2304,
        prefill_rows: 8,
        step: Duration::from_millis(100),
        pace: 4.0,
        costs,
        ..Setup::new(64, letters)
    };
    let mut bench = setup.build();
    let mut random = 1u64;
    let mut below = move |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % end
    };
    let mut ask = || {
        let len = if below(8) == 0 { 2000 } else { [16, 60, 150, 400][below(4) as usize] };
        let prompt = (0..len).map(|_| BYTES + below(200) as u32).collect::<Vec<_>>();
        Ask::of(&prompt, 16 + below(100) as u32)
    };
    let mut callers = (0..64).map(|_| bench.submit(ask())).collect::<Vec<_>>();
    // How much each has heard, and when.
    let mut heard = vec![(0, None); 64];
    let (mut gaps, mut steps) = (Vec::new(), Vec::new());
    for _ in 0..6000 {
        let before = bench.log.now();
        bench.step();
        let now = bench.log.now();
        steps.push(now - before);
        for (caller, number) in callers.iter_mut().enumerate() {
            let items = bench.items(*number);
            if items.len() > heard[caller].0 {
                gaps.extend(heard[caller].1.map(|then| now - then));
                heard[caller] = (items.len(), Some(now));
            }
            if items.last().is_some_and(crate::Item::is_terminal) {
                *number = bench.submit(ask());
                heard[caller] = (0, None);
            }
        }
    }
    gaps.sort();
    steps.sort();
    let (p99, median) = (gaps[gaps.len() / 100 * 99], steps[steps.len() / 2]);
    let answered = bench.requests.len() - 64;
    println!("a gap of {p99:?}, {:?} at the most, at steps of {median:?}; {answered} answers", gaps.last());
    assert!(gaps.len() > 10_000 && answered > 100, "{} gaps, {answered} answers", gaps.len());
    assert!(p99 <= 3 * median, "a gap of {p99:?} at steps of {median:?}");
}
