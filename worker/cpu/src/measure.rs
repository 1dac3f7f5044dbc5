//! What a program takes, counted from what was allocated.

use hearth_model::footprint::{DeviceKind, Overheads};
use hearth_model::{Footprint, Shape};
use hearth_program::Program;

use crate::CpuProgram;

/// The overhead is an allowance: what a vocabulary takes on the heap is not the
/// program's to count.
pub(crate) fn footprint(program: &CpuProgram, shape: &Shape, vocabulary: u32) -> Footprint {
    let allowance = Overheads::DEFAULT;
    let allowance = allowance.of(DeviceKind::Cpu);
    // A sequence's answers, which the engine keeps.
    let answers = program.output().width() * shape.sequences as usize * size_of::<f32>();
    let registers = program.registers.iter().map(hearth_kernels::arena::Floats::bytes).sum::<usize>();
    let (kept, passing) = program.kv.bytes();
    Footprint {
        weights: program.weights.bytes() as u64,
        kv: kept as u64,
        activations: (registers + passing + program.scratch.bytes() + answers) as u64,
        overhead: allowance.fixed + allowance.per_vocabulary_token * u64::from(vocabulary),
    }
}
