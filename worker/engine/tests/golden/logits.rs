//! The same logits, step by step, within what single precision leaves.

use hearth_engine::Compute;
use hearth_program::{PREFILL_CHUNK, Program, Row, Stage};
use hearth_reference::{KvStorage, ReferenceProgram};
use serde::Deserialize;

use crate::files::{self, Greedy};

#[derive(Deserialize)]
struct Logits {
    name: String,
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

#[test]
fn logits_are_within_a_hundredth_at_every_step() {
    let prompts = files::items::<Greedy>("greedy.json");
    let mut program = ReferenceProgram::open(&files::model(), KvStorage::Exact, Compute::Cpu).unwrap();
    let goldens = files::items::<Logits>("logits.json");
    assert!(goldens.len() >= 2);
    for golden in goldens {
        let prompt = prompts.iter().find(|prompt| prompt.name == golden.name).unwrap();
        assert!(prompt.prompt_ids.len() <= PREFILL_CHUNK, "this test takes a prompt in one piece");
        let mut cache = program.cache();
        let mut start = 0;
        let mut largest = 0f32;
        let mut tokens = prompt.prompt_ids.clone();
        let mut stage = Stage::Prefill { last: true };
        for (step, (expected, next)) in golden.logits.iter().zip(&prompt.output_ids).enumerate() {
            let mut rows = [Row { cache: &mut cache, start, tokens: &tokens, stage }];
            let logits = program.step(&mut rows).unwrap().remove(0).unwrap();
            for (id, expected) in golden.ids.iter().zip(expected) {
                let difference = (logits[*id as usize] - expected).abs();
                largest = largest.max(difference);
                assert!(difference < 1e-2, "{} step {step} token {id}: off by {difference}", golden.name);
            }
            start += tokens.len();
            tokens = vec![*next];
            stage = Stage::Decode;
        }
        println!("{}: largest difference {largest}", golden.name);
    }
}
