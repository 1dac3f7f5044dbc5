//! The same logits, step by step, within what single precision leaves.

use hearth_engine::Compute;
use hearth_model::{KvType, Shape};
use hearth_program::{Answers, PAGE_TOKENS, PREFILL_CHUNK, PageId, Program, Row, Stage};
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
    let shape = Shape { context_tokens: 512, sequences: 1, kv_type: KvType::F16 };
    let mut program =
        ReferenceProgram::open(&files::model(), &shape, KvStorage::Exact, Compute::Cpu).unwrap();
    // Every prompt writes over the one before it.
    let tables = [(0..512 / PAGE_TOKENS).map(|page| PageId(page as u32)).collect::<Vec<_>>()];
    let mut answers = Answers::default();
    let goldens = files::items::<Logits>("logits.json");
    assert!(goldens.len() >= 2);
    for golden in goldens {
        let prompt = prompts.iter().find(|prompt| prompt.name == golden.name).unwrap();
        assert!(prompt.prompt_ids.len() <= PREFILL_CHUNK, "this test takes a prompt in one piece");
        let mut start = 0;
        let mut largest = 0f32;
        let mut tokens = prompt.prompt_ids.clone();
        let mut stage = Stage::Prefill { last: true };
        for (step, (expected, next)) in golden.logits.iter().zip(&prompt.output_ids).enumerate() {
            program.step(&[Row { tables: &tables, start, tokens: &tokens, stage }], &mut answers).unwrap();
            let logits = answers.get(0, 0).unwrap();
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
