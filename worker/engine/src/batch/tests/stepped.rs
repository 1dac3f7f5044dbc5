//! What single steps do.

use std::sync::atomic::Ordering;

use crate::batch::{Health, MAX_WAITING};
use crate::{FinishReason, Item, RequestError, Stop};
use hearth_program::{PREFILL_CHUNK, Stage};

use super::bench::{Ask, BYTES, Bench, CONTEXT, END};
use super::script::Seen;

const DECODE: Stage = Stage::Decode;
const PIECE: Stage = Stage::Prefill { last: false };
const LAST: Stage = Stage::Prefill { last: true };

fn letters(_: &[u32]) -> u32 {
    BYTES + u32::from(b'a')
}

fn row(request: u32, start: usize, len: usize, stage: Stage) -> Seen {
    Seen { request, start, len, stage }
}

fn last(bench: &Bench, number: usize) -> Option<Item> {
    bench.items(number).pop()
}

#[test]
fn as_many_run_as_there_are_places_first_come_first_served() {
    let mut bench = Bench::new(2, letters);
    for _ in 0..4 {
        bench.submit(Ask::new(1, 3));
    }
    assert_eq!(bench.step(), [row(0, 0, 1, LAST)]);
    assert_eq!(bench.batcher.running.len(), 2);
    assert_eq!(bench.batcher.waiting.iter().map(|one| one.tokens[0] - BYTES).collect::<Vec<_>>(), [2, 3]);
    let mut started = vec![0];
    for step in bench.step_to_the_end() {
        started.extend(step.iter().filter(|row| row.start == 0).map(|row| row.request));
    }
    assert_eq!(started, [0, 1, 2, 3]);
    assert_eq!(bench.held(), 0);
}

#[test]
fn a_prompt_is_read_in_pieces_that_end_at_multiples() {
    let mut bench = Bench::new(1, letters);
    bench.submit(Ask::new(2 * PREFILL_CHUNK + 3, 2));
    let steps = bench.step_to_the_end().concat();
    let expected = [
        row(0, 0, PREFILL_CHUNK, PIECE),
        row(0, PREFILL_CHUNK, PREFILL_CHUNK, PIECE),
        row(0, 2 * PREFILL_CHUNK, 3, LAST),
        row(0, 2 * PREFILL_CHUNK + 3, 1, DECODE),
    ];
    assert_eq!(steps, expected);

    let mut bench = Bench::new(1, letters);
    bench.submit(Ask::new(PREFILL_CHUNK, 1));
    assert_eq!(bench.step_to_the_end().concat(), [row(0, 0, PREFILL_CHUNK, LAST)]);
}

#[test]
fn a_long_prompt_delays_others_by_one_piece_a_token() {
    let mut bench = Bench::new(3, letters);
    bench.submit(Ask::new(1, 20));
    bench.step();
    bench.submit(Ask::new(3 * PREFILL_CHUNK, 4));
    bench.submit(Ask::new(2, 4));
    let mut first_of_the_short = None;
    for nth in 1..=10 {
        let read = bench.ids(1).is_empty();
        let step = bench.step();
        assert!(step.contains(&row(0, nth, 1, DECODE)), "{step:?}");
        assert_eq!(step.iter().filter(|row| row.stage != DECODE).count(), usize::from(read), "{step:?}");
        if first_of_the_short.is_none() && !bench.items(2).is_empty() {
            first_of_the_short = Some(nth);
        }
    }
    assert!(first_of_the_short <= Some(2), "prompts take turns");
    assert_eq!(bench.ids(0).len(), 11);
    assert!(!bench.ids(1).is_empty());
}

#[test]
fn a_cancelled_request_ends_with_the_next_step() {
    let mut bench = Bench::new(1, letters);
    let (running, waiting, next) =
        (bench.submit(Ask::new(1, 9)), bench.submit(Ask::new(1, 9)), bench.submit(Ask::new(1, 9)));
    bench.step();
    bench.cancel(running);
    bench.cancel(waiting);
    assert_eq!(bench.step(), [row(2, 0, 1, LAST)]);
    for number in [running, waiting] {
        assert!(matches!(bench.failure(number), Some(RequestError::Aborted { .. })));
    }
    assert_eq!((bench.ids(running).len(), bench.ids(waiting).len()), (1, 0));
    assert_eq!(bench.ids(next).len(), 1);
    assert_eq!(bench.held(), 1);
}

#[test]
fn a_prompt_that_is_cancelled_between_pieces_is_not_read_further() {
    let mut bench = Bench::new(1, letters);
    let number = bench.submit(Ask::new(3 * PREFILL_CHUNK, 1));
    bench.step();
    bench.cancel(number);
    assert_eq!(bench.step(), []);
    assert!(matches!(bench.items(number).as_slice(), [Item::Failed(RequestError::Aborted { .. })]));
    assert!(bench.batcher.is_idle());
    assert_eq!(bench.held(), 0);
}

#[test]
fn a_listener_that_is_gone_leaves_its_place_in_the_same_step() {
    let mut bench = Bench::new(1, letters);
    let number = bench.submit(Ask { gone_after: Some(2), ..Ask::new(1, 9) });
    bench.step();
    bench.step();
    assert_eq!(bench.items(number).len(), 2);
    assert!(bench.batcher.is_idle());
    assert_eq!(bench.held(), 0);
}

#[test]
fn whoever_finds_the_queue_full_is_told_how_many_wait() {
    for stepped in [false, true] {
        let mut bench = Bench::new(2, letters);
        for _ in 0..2 {
            bench.submit(Ask::new(1, 2));
        }
        if stepped {
            bench.step();
        }
        for _ in 0..MAX_WAITING {
            let number = bench.submit(Ask::new(1, 2));
            assert_eq!(bench.items(number), []);
        }
        let refused = bench.submit(Ask::new(1, 2));
        let Some(RequestError::Busy { waiting }) = bench.failure(refused) else { panic!("it was taken") };
        assert_eq!(waiting, MAX_WAITING);
        bench.step_to_the_end();
        for number in 0..refused {
            assert!(matches!(last(&bench, number), Some(Item::Finish { .. })));
        }
        let after = bench.submit(Ask::new(1, 2));
        assert_eq!(bench.failure(after), None);
    }
}

#[test]
fn who_left_a_full_queue_keeps_nobody_out() {
    let mut bench = Bench::new(1, letters);
    let numbers = (0..=MAX_WAITING).map(|_| bench.submit(Ask::new(1, 2))).collect::<Vec<_>>();
    bench.cancel(numbers[3]);
    let taken = bench.submit(Ask::new(1, 2));
    assert_eq!(bench.failure(taken), None);
    assert!(matches!(bench.failure(numbers[3]), Some(RequestError::Aborted { .. })));
}

#[test]
fn a_place_that_was_left_takes_one_more() {
    let mut bench = Bench::new(1, letters);
    bench.submit(Ask::new(1, 1));
    for _ in 0..MAX_WAITING {
        bench.submit(Ask::new(1, 1));
    }
    bench.step();
    let taken = bench.submit(Ask::new(1, 1));
    assert_eq!(bench.failure(taken), None);
    let refused = bench.submit(Ask::new(1, 1));
    assert!(matches!(bench.failure(refused), Some(RequestError::Busy { .. })));
}

#[test]
fn an_output_ends_with_what_ends_it_first() {
    // The fifth token ends the turn.
    let next =
        |tokens: &[u32]| if tokens.len() == 6 { END } else { BYTES + u32::from(b'a') + tokens.len() as u32 };
    let end = |stop: Stop| {
        let mut bench = Bench::new(1, next);
        let number = bench.submit(Ask { stop, ..Ask::new(2, 0) });
        bench.step_to_the_end();
        let Some(Item::Finish { reason, usage, stop_sequence }) = last(&bench, number) else {
            panic!("no finish")
        };
        assert_eq!(usage.prompt_tokens, 2);
        (bench.text(number), reason, usage.completion_tokens, stop_sequence)
    };
    let plain = Stop::default;
    let (stop, length) = (FinishReason::Stop, FinishReason::Length);
    assert_eq!(end(plain()), ("cdef".into(), stop, 5, None));
    assert_eq!(end(Stop { max_tokens: Some(4), ..plain() }), ("cdef".into(), length, 4, None));
    assert_eq!(
        end(Stop { max_tokens: Some(7), ignore_eos: true, ..plain() }),
        ("cdefhi".into(), length, 7, None)
    );
    assert_eq!(
        end(Stop { sequences: vec!["x".into(), "ef".into()], ..plain() }),
        ("cd".into(), stop, 4, Some("ef".into()))
    );
    assert_eq!(end(Stop { sequences: vec!["efg".into()], ..plain() }), ("cdef".into(), stop, 5, None));
}

#[test]
fn the_context_ends_an_output() {
    let mut bench = Bench::new(1, letters);
    let number = bench.submit(Ask { stop: Stop::default(), ..Ask::new(CONTEXT - 3, 0) });
    bench.step_to_the_end();
    assert_eq!(bench.ids(number).len(), 3);
    assert!(matches!(last(&bench, number), Some(Item::Finish { reason: FinishReason::Length, .. })));
}

#[test]
fn characters_of_several_tokens_come_whole() {
    // One byte of the character a token, over and over.
    let next = |tokens: &[u32]| BYTES + u32::from("🔥".as_bytes()[(tokens.len() - 1) % 4]);
    let mut bench = Bench::new(1, next);
    let number = bench.submit(Ask::new(1, 10));
    bench.step_to_the_end();
    let pieces = bench.items(number).into_iter().filter_map(|item| match item {
        Item::Delta { text, token_ids, .. } => Some((text, token_ids.len())),
        Item::Finish { .. } | Item::Failed(_) => None,
    });
    let (nothing, fire) = ((String::new(), 1), ("🔥".to_owned(), 1));
    let one = [vec![nothing.clone(); 3], vec![fire]].concat();
    let mut expected = [one.clone(), one].concat();
    // What the limit cut off comes as a replacement, without a token of its own.
    expected.extend([nothing.clone(), nothing, ("\u{fffd}".to_owned(), 0)]);
    assert_eq!(pieces.collect::<Vec<_>>(), expected);
}

#[test]
fn a_panic_means_that_the_device_is_broken() {
    let next =
        |tokens: &[u32]| if tokens.len() == 3 { panic!("a fault of the device") } else { letters(tokens) };
    let mut bench = Bench::new(1, next);
    let (faulty, sound) = (bench.submit(Ask::new(1, 9)), bench.submit(Ask::new(5, 3)));
    while bench.failure(faulty).is_none() {
        assert_eq!(bench.health, Health::Sound);
        bench.step();
    }
    assert_eq!(bench.health, Health::Broken);
    match bench.failure(faulty) {
        Some(RequestError::Internal { message }) => {
            assert!(message.contains("a fault of the device"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.ids(faulty).len(), 2);
    // Those that the fault did not touch are let go, not failed.
    bench.batcher.abort("the device failed");
    assert!(matches!(bench.failure(sound), Some(RequestError::Aborted { .. })));
    assert_eq!(bench.held(), 0);
}

#[test]
fn a_device_that_fails_again_and_again_is_broken() {
    let mut bench = Bench::new(1, letters);
    for (faults, health) in [(2, Health::Sound), (2, Health::Sound), (3, Health::Broken)] {
        bench.log.faults.store(faults, Ordering::Relaxed);
        for _ in 0..faults {
            let number = bench.submit(Ask::new(1, 1));
            bench.step();
            assert!(matches!(bench.failure(number), Some(RequestError::Internal { .. })));
        }
        assert_eq!(bench.health, health, "after {faults} faults");
        // One step that succeeds begins the count anew.
        let number = bench.submit(Ask::new(1, 1));
        bench.step();
        assert_eq!(bench.failure(number), None);
    }
}

#[test]
fn dropping_the_batcher_ends_everything() {
    let mut bench = Bench::new(1, letters);
    let (running, waiting) = (bench.submit(Ask::new(1, 9)), bench.submit(Ask::new(1, 9)));
    bench.step();
    let Bench { batcher, requests, .. } = bench;
    let pool = batcher.pool.clone();
    drop(batcher);
    assert_eq!(pool.occupancy()[0].held(), 0);
    for number in [running, waiting] {
        let items = requests[number].items.lock().unwrap();
        assert!(matches!(items.last(), Some(Item::Failed(RequestError::Aborted { .. }))));
        assert_eq!(items.iter().filter(|item| item.is_terminal()).count(), 1);
    }
}
