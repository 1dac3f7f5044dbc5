//! Every family's own implementation as the judge of the CPU program: the tiny
//! checkpoints of `tests/golden/families`, from safetensors and from GGUF.

mod footprint;
mod texts;

use hearth_cpu::{Cpu, CpuConfig, CpuProgram, KvStorage};
use hearth_model::testing::family_goldens;
use hearth_model::{DType, KvType, Shape};
use hearth_program::testing::{FamilyFile, Steps, answers, error};
use hearth_program::{Unwatched, build};

/// The largest difference from the family's own answers, relative to the largest of
/// them. All types are plain, so activations are not quantized: both compute in single
/// precision.
const TOLERANCE: f32 = 1e-4;

fn cpu(threads: usize) -> Cpu {
    Cpu::open(CpuConfig { threads: std::num::NonZeroUsize::new(threads) }).unwrap()
}

fn open(cpu: &Cpu, file: &FamilyFile, context_tokens: u32) -> CpuProgram {
    let shape = Shape { context_tokens, sequences: 2, kv_type: KvType::F16 };
    let model = build::read(&file.path()).unwrap();
    cpu.build_with(&file.path(), &model, &shape, KvStorage::Exact, &mut Unwatched).unwrap()
}

#[test]
fn families_answer_as_their_own_implementations_do() {
    let cpu = cpu(2);
    let mut wrong = Vec::new();
    for golden in &family_goldens() {
        let mut errors = Vec::new();
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for file in [golden.safetensors(dtype), golden.gguf(dtype).build()] {
                let file = FamilyFile::new(golden, &file);
                for prompt in &golden.prompts {
                    let mut program = open(&cpu, &file, prompt.context);
                    let mut taken = |steps| answers(&mut program, prompt, steps);
                    let pieces = taken(Steps::Pieces);
                    errors.push(error(&pieces, &prompt.answers));
                    // However it is cut, to the bit.
                    for steps in [Steps::Single, Steps::Guesses] {
                        assert!(taken(steps) == pieces, "{} {dtype} {steps:?}", golden.name);
                    }
                }
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

/// Tensors of one weight lie in different files: experts, and what belongs to a layer.
#[test]
fn a_checkpoint_in_several_files_is_the_same() {
    let cpu = cpu(2);
    let names = ["mixtral", "phi3", "bert", "qwen3-embedding"];
    for golden in family_goldens().iter().filter(|golden| names.contains(&golden.name.as_str())) {
        let whole = FamilyFile::new(golden, &golden.safetensors(DType::BF16));
        let parts = FamilyFile::of_files(golden, golden.shards(DType::BF16, 3));
        let prompt = &golden.prompts[0];
        let [whole, parts] = [whole, parts].map(|file| {
            let mut program = open(&cpu, &file, prompt.context);
            answers(&mut program, prompt, Steps::Pieces)
        });
        assert!(error(&whole, &prompt.answers) <= TOLERANCE, "{}", golden.name);
        assert!(whole == parts, "{}", golden.name);
    }
}
