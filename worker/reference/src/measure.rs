//! What a loaded model takes, counted from what was made of it.

use hearth_model::footprint::{DeviceKind, Overheads, SIDE_BY_SIDE};
use hearth_model::{Footprint, Shape};

use crate::Compute;
use hearth_program::PREFILL_CHUNK;
use hearth_program::arch::{Graph, Node, Register, Weight, WeightShape};

use crate::ReferenceProgram;

/// Weights are counted from the tensors, keys and values from the pages, scratch
/// from the graph's registers. The overhead is an allowance: what a vocabulary
/// takes on the heap is not the engine's to count.
pub(crate) fn footprint(program: &ReferenceProgram, shape: &Shape, vocabulary: u32) -> Footprint {
    let ReferenceProgram { graph, weights, ropes: _, kv, compute } = program;
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
        kv: kv.bytes(),
        activations: scratch(graph, shape),
        overhead: allowance.fixed + allowance.per_vocabulary_token * u64::from(vocabulary),
    }
}

/// Bytes of a step at its widest: a piece of a prompt that ends with the context,
/// and beside it last tokens of other sequences, whose only scratch of any size is
/// the widened keys and values.
fn scratch(graph: &Graph, shape: &Shape) -> u64 {
    let context = shape.context_tokens as usize;
    // What sees ahead reads a text as a whole.
    let rows = if graph.sees_ahead() { context } else { context.min(PREFILL_CHUNK) };
    let registers = Register::ALL.iter().zip(graph.widths).map(|(register, width)| match register {
        // Only last rows reach the head, and each sequence may have one.
        Register::Logits => width * shape.sequences as usize,
        _ => width * rows,
    });
    let attention = &graph.layers[0].attention;
    let side_by_side = shape.sequences.min(SIDE_BY_SIDE) as usize;
    let widened = side_by_side * context * attention.kv_heads * (attention.key_dim + attention.value_dim);
    // A product and its softmax.
    let scores = 2 * attention.heads * rows * context;
    let registers = registers.sum::<usize>() + rows * experts(graph);
    ((registers + widened + scores) * size_of::<f32>()) as u64
}

/// Elements that a token's experts compute between them, gate and up, in the widest
/// layer.
fn experts(graph: &Graph) -> usize {
    let width = |weight: &Weight| match weight.shape {
        WeightShape::Experts { outputs, .. } => outputs,
        WeightShape::Vector { .. } | WeightShape::Matrix { .. } => 0,
    };
    let of = |node: &Node| match node {
        Node::Experts { experts, .. } => 2 * experts.used * width(&graph.weights[experts.gate.0]),
        _ => 0,
    };
    graph.nodes().map(of).max().unwrap_or(0)
}
