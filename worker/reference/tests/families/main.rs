//! Every family's own implementation as the judge: the tiny checkpoints of
//! `tests/golden/families`, from safetensors (in one file and in two) and from GGUF, in
//! each plain type.

use hearth_model::testing::family_goldens;
use hearth_model::{DType, KvType, Shape};
use hearth_program::testing::{FamilyFile, Steps, answers, error};
use hearth_reference::{Compute, KvStorage, ReferenceProgram};

/// The largest difference from the family's own answers, relative to the largest of
/// them. Both compute in single precision.
const TOLERANCE: f32 = 1e-4;

fn open(file: &FamilyFile, context_tokens: u32) -> ReferenceProgram {
    let shape = Shape { context_tokens, sequences: 1, kv_type: KvType::F16 };
    ReferenceProgram::open(&file.path(), &shape, KvStorage::Exact, Compute::Cpu).unwrap()
}

#[test]
fn families_answer_as_their_own_implementations_do() {
    let goldens = family_goldens();
    let mut wrong = Vec::new();
    for golden in &goldens {
        let mut errors = Vec::new();
        let types = [DType::F32, DType::F16, DType::BF16];
        let files = types.map(|dtype| [golden.safetensors(dtype), golden.gguf(dtype).build()]);
        let files = files.into_iter().flatten().map(|file| FamilyFile::new(golden, &file));
        for file in files.chain([FamilyFile::of_files(golden, golden.shards(DType::F32, 2))]) {
            for prompt in &golden.prompts {
                let mut program = open(&file, prompt.context);
                errors.push(error(&answers(&mut program, prompt, Steps::Pieces), &prompt.answers));
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
