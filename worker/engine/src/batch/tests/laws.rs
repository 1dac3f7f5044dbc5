//! However a request is run, it says the same: alone, in company, set aside and taken up
//! again, with its beginning found and with guesses. With programs that compute.

use hearth_model::testing::{TinyLlama, tiny_llama_gguf};
use hearth_program::{PAGE_TOKENS, Program, Stage};
use hearth_sample::Sampling;

use super::bench::{Ask, BYTES, Bench};
use super::computed::{Run, Watched, real_model};

const RUN: Run = Run { context: 512, sequences: 8, places: 8, step: 1_000_000 };

/// Prompts that begin differently, of lengths around those of pages and pieces.
fn asks(max_tokens: u32) -> Vec<Ask> {
    let lens = [5, 33, 64, 100, 129, 200, 260, 31];
    let token = |nth: usize, at: usize| BYTES + ((nth * 13 + at * 7) % 200) as u32;
    let prompt = |(nth, len): (usize, usize)| (0..len).map(|at| token(nth, at)).collect::<Vec<_>>();
    lens.into_iter().enumerate().map(prompt).map(|prompt| Ask::of(&prompt, max_tokens)).map(endless).collect()
}

fn endless(mut ask: Ask) -> Ask {
    ask.stop.ignore_eos = true;
    ask
}

fn guessing(ask: &Ask) -> Ask {
    Ask { guesses: 8, ..ask.clone() }
}

/// What requests say that are submitted together.
fn together<P: Program>(bench: &mut Bench<P>, asks: &[Ask]) -> Vec<Vec<u32>> {
    let numbers = asks.iter().map(|ask| bench.submit(ask.clone())).collect::<Vec<_>>();
    bench.step_to_the_end();
    let outputs = numbers.into_iter().map(|number| bench.ids(number)).collect::<Vec<_>>();
    for (output, ask) in outputs.iter().zip(asks) {
        assert_eq!(Some(output.len() as u32), ask.stop.max_tokens);
    }
    assert_eq!(bench.held(), 0);
    outputs
}

fn laws<P: Program>(open: impl Fn(Run) -> Bench<Watched<P>>) {
    let asks = asks(100);
    let alone = |ask: &Ask| together(&mut open(RUN), std::slice::from_ref(ask)).remove(0);
    let expected = asks.iter().map(alone).collect::<Vec<_>>();

    assert!(together(&mut open(RUN), &asks) == expected, "in company");

    // Pages for one context, of which all want several times as many.
    let few = Run { sequences: 1, ..RUN };
    let mut bench = open(few);
    assert!(together(&mut bench, &asks) == expected, "set aside");
    assert!(bench.batcher.stats().counts.preemptions > 0);

    let mut bench = open(RUN);
    for (ask, expected) in asks.iter().zip(&expected) {
        together(&mut bench, std::slice::from_ref(ask));
        assert!(together(&mut bench, std::slice::from_ref(ask))[0] == *expected, "found");
        let prompt = bench.requests.last().unwrap().prompt.len();
        assert_eq!(bench.cached(bench.requests.len() - 1), (prompt - 1) / PAGE_TOKENS * PAGE_TOKENS);
    }
    // What was said is part of what is asked next.
    for (number, said) in [(5, &expected[1]), (9, &expected[4])] {
        let mut talk = bench.requests[number - 2].prompt.clone();
        talk.extend(said);
        talk.extend([BYTES + 1, BYTES + 2]);
        let ask = endless(Ask::of(&talk, 20));
        assert!(together(&mut bench, std::slice::from_ref(&ask))[0] == alone(&ask), "talked on");
    }

    let guessed = asks.iter().map(guessing).collect::<Vec<_>>();
    let mut bench = open(RUN);
    assert!(together(&mut bench, &guessed) == expected, "guessed in company");
    let mut bench = open(RUN);
    for (ask, expected) in guessed.iter().zip(&expected) {
        assert!(together(&mut bench, std::slice::from_ref(ask))[0] == *expected, "guessed");
    }
    let counts = bench.batcher.stats().counts;
    println!("{} of {} guesses were right", counts.right_guesses, counts.guesses);
    assert!(counts.right_guesses > 0 && counts.right_guesses < counts.guesses);

    // Draws hang on the seed and the position alone.
    let sampling =
        Sampling { temperature: 1.0, top_k: 3, seed: Some(7), logprobs: Some(1), ..Sampling::default() };
    let drawn = |ask: &Ask| Ask { sampling: sampling.clone(), ..ask.clone() };
    let expected_draws = asks.iter().map(|ask| alone(&drawn(ask))).collect::<Vec<_>>();
    assert!(expected_draws != expected);

    // All of it at once, in steps that cut prompts.
    let mut bench = open(Run { step: 500, ..few });
    let all = asks.iter().chain(&asks).enumerate();
    let all = all.map(|(nth, ask)| if nth < 8 { guessing(ask) } else { guessing(&drawn(ask)) });
    let said = together(&mut bench, &all.collect::<Vec<_>>());
    assert!(said[..8] == expected && said[8..] == expected_draws, "all at once");
    assert!(bench.batcher.stats().counts.preemptions > 0);
}

fn tiny() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let tiny = TinyLlama { context_length: RUN.context, ..TinyLlama::new(1) };
    std::fs::write(file.path(), tiny_llama_gguf(&tiny)).unwrap();
    file
}

#[test]
fn laws_hold_on_the_cpu() {
    let file = tiny();
    laws(|run| run.cpu(file.path()));
}

#[test]
fn laws_hold_for_the_reference() {
    let file = tiny();
    laws(|run| run.reference(file.path()));
}

/// Two thousand tokens that a model was asked before cost a page and a step.
#[test]
fn a_long_prefix_is_computed_once() {
    const PREFIX: usize = 2000;
    let path = real_model();
    let run = Run { context: 2304, sequences: 4, places: 4, step: 100_000_000 };
    let token = |at: usize| 1000 + (at as u32).wrapping_mul(2_654_435_761) % 40_000;
    let prefix = (0..PREFIX).map(token).collect::<Vec<_>>();
    let ask = |own: &[u32]| endless(Ask::of(&[&prefix[..], own].concat(), 24));
    let mut bench = run.cpu(&path);

    let first = together(&mut bench, &[ask(&[])]);
    let read = bench.batcher.stats().counts;
    let number = bench.submit(ask(&[]));
    let steps = bench.step_to_the_end();
    assert_eq!(bench.ids(number), first[0]);
    let tail = PREFIX % PAGE_TOKENS;
    assert_eq!((steps[0][0].start, steps[0][0].len), (PREFIX - tail, tail));
    assert_eq!(steps[0][0].stage, Stage::Prefill { last: true }, "the first token comes with the first step");
    let counts = bench.batcher.stats().counts;
    assert_eq!(counts.read_tokens - read.read_tokens, tail as u64);
    assert_eq!(counts.cached_tokens - read.cached_tokens, (PREFIX - tail) as u64);
    assert_eq!(counts.steps - read.steps, 24);

    // Four that go on differently, side by side and with guesses, against each alone.
    let asks = (0..4u32).map(|nth| guessing(&ask(&[700 + nth, 800, 900 + nth]))).collect::<Vec<_>>();
    let said = together(&mut bench, &asks);
    assert!(bench.batcher.stats().counts.cached_tokens - counts.cached_tokens >= 4 * 1984);
    let plain = Ask { guesses: 0, ..asks[2].clone() };
    assert_eq!(together(&mut run.cpu(&path), &[plain])[0], said[2]);
}
