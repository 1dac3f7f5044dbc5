//! What a loaded model takes, counted from what was made of it.

use hearth_model::Footprint;
use hearth_model::footprint::{DeviceKind, Overheads, SIDE_BY_SIDE};

use crate::api::{Compute, LoadSpec};
use crate::arch::{Graph, Register};
use crate::program::PREFILL_CHUNK;

use super::ReferenceProgram;

/// Weights are counted from the tensors, keys and values from a page, scratch
/// from the graph's registers. The overhead is an allowance: what a vocabulary
/// takes on the heap is not the engine's to count.
pub(super) fn footprint(program: &ReferenceProgram, spec: &LoadSpec, vocabulary: u32) -> Footprint {
    let ReferenceProgram { graph, weights, rope: _, layout, compute } = program;
    let kind = match compute {
        Compute::Cpu => DeviceKind::Cpu,
        Compute::Cuda(_) => DeviceKind::Cuda,
        Compute::Vulkan(_) => DeviceKind::Vulkan,
        Compute::Metal => DeviceKind::Metal,
    };
    let allowance = Overheads::DEFAULT;
    let allowance = allowance.of(kind);
    Footprint {
        weights: weights.bytes(),
        kv: layout.bytes_for(spec.context_tokens as usize) * u64::from(spec.sequences),
        activations: scratch(graph, spec),
        overhead: allowance.fixed + allowance.per_vocabulary_token * u64::from(vocabulary),
    }
}

/// Bytes of a step at its widest: a piece of a prompt that ends with the context,
/// and beside it last tokens of other sequences, whose only scratch of any size is
/// the widened keys and values.
fn scratch(graph: &Graph, spec: &LoadSpec) -> u64 {
    let context = spec.context_tokens as usize;
    let rows = context.min(PREFILL_CHUNK);
    let registers = Register::ALL.iter().zip(graph.widths).map(|(register, width)| match register {
        // Only last rows reach the head, and each sequence may have one.
        Register::Logits => width * spec.sequences as usize,
        _ => width * rows,
    });
    let attention = &graph.attention;
    let side_by_side = spec.sequences.min(SIDE_BY_SIDE) as usize;
    let widened = side_by_side * context * attention.kv_heads * (attention.key_dim + attention.value_dim);
    // A product and its softmax.
    let scores = 2 * attention.heads * rows * context;
    ((registers.sum::<usize>() + widened + scores) * size_of::<f32>()) as u64
}
