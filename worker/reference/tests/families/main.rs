//! Every family's own implementation as the judge: the tiny checkpoints of
//! `tests/golden/families`, from safetensors and from GGUF, in each plain type.

use hearth_model::testing::{FamilyGolden, FamilyPrompt, family_goldens};
use hearth_model::{DType, KvType, Shape};
use hearth_program::{Answers, PREFILL_CHUNK, PageId, Program, Row, Stage};
use hearth_reference::{Compute, KvStorage, ReferenceProgram};

/// The largest difference from the family's own answers, relative to the largest of
/// them. Both compute in single precision.
const TOLERANCE: f32 = 1e-4;

/// Takes a prompt through a program: all but its last tokens as a prompt, in pieces, the
/// others one by one. Returns the answers to the last tokens.
fn answers(program: &mut ReferenceProgram, prompt: &FamilyPrompt) -> Vec<Vec<f32>> {
    let FamilyPrompt { tokens, answers: expected, .. } = prompt;
    let pages = program.pages().groups.iter().map(|group| group.pages);
    let tables: Vec<Vec<PageId>> = pages.map(|pages| (0..pages as u32).map(PageId).collect()).collect();
    let read = tokens.len() - (expected.len() - 1);
    // What sees ahead takes a text as a whole.
    let piece = if tables.is_empty() { read } else { PREFILL_CHUNK };
    let mut rows = Vec::new();
    for start in (0..read).step_by(piece) {
        let end = read.min(start + piece);
        rows.push((start, end, Stage::Prefill { last: end == read }));
    }
    rows.extend((read..tokens.len()).map(|at| (at, at + 1, Stage::Decode)));
    let mut found = Vec::new();
    for (start, end, stage) in rows {
        let mut answers = Answers::default();
        let row = Row { tables: &tables, start, tokens: &tokens[start..end], stage };
        program.step(&[row], &mut answers).unwrap();
        found.extend((0..answers.count(0)).map(|nth| answers.get(0, nth).unwrap().to_vec()));
    }
    found
}

/// The largest difference, relative to the largest number.
fn error(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let pairs = || found.iter().flatten().zip(expected.iter().flatten());
    assert!(found.iter().zip(expected).all(|(a, b)| a.len() == b.len()));
    let largest = pairs().map(|(_, b)| b.abs()).fold(0.0, f32::max);
    // Not a number is not within any bound.
    let worst = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, |a, b| if b <= a { a } else { b });
    worst / largest
}

struct File {
    folder: tempfile::TempDir,
}

impl File {
    fn new(golden: &FamilyGolden, bytes: Vec<u8>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model"), bytes).unwrap();
        std::fs::write(folder.path().join("config.json"), golden.config.to_string()).unwrap();
        if let Some(pooling) = &golden.pooling {
            let mode = match pooling.as_str() {
                "mean" => "mean_tokens",
                "first" => "cls_token",
                _ => "lasttoken",
            };
            std::fs::create_dir(folder.path().join("1_Pooling")).unwrap();
            let json = format!("{{\"pooling_mode_{mode}\":true}}");
            std::fs::write(folder.path().join("1_Pooling/config.json"), json).unwrap();
        }
        Self { folder }
    }

    fn open(&self, context_tokens: u32) -> ReferenceProgram {
        let shape = Shape { context_tokens, sequences: 1, kv_type: KvType::F16 };
        ReferenceProgram::open(&self.folder.path().join("model"), &shape, KvStorage::Exact, Compute::Cpu)
            .unwrap()
    }
}

#[test]
fn families_answer_as_their_own_implementations_do() {
    let goldens = family_goldens();
    let mut wrong = Vec::new();
    for golden in &goldens {
        let mut errors = Vec::new();
        let types = [DType::F32, DType::F16, DType::BF16];
        let files = types.map(|dtype| [golden.safetensors(dtype), golden.gguf(dtype).build()]);
        for file in files.into_iter().flatten() {
            let file = File::new(golden, file);
            for prompt in &golden.prompts {
                let mut program = file.open(prompt.context);
                errors.push(error(&answers(&mut program, prompt), &prompt.answers));
            }
        }
        let worst = errors.iter().copied().fold(0.0, f32::max);
        println!("{:16} {worst:.1e}", golden.name);
        if !errors.iter().all(|error| *error <= TOLERANCE) {
            wrong.push(format!("{}: {errors:?}", golden.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
