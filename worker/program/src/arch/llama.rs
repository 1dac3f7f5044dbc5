//! The llama architecture.

use hearth_model::arch::{LayerWeights, Weights};
use hearth_model::{Model, Tensor};

use super::node::{Attention, Graph, Node, Norm, Register, Weight, WeightId, WeightShape};

pub(super) fn graph(model: &Model) -> Graph {
    let Weights { token_embedding, layers, output_norm, output } = &model.weights;
    let dims = &model.dims;
    let attention = Attention {
        heads: dims.heads as usize,
        kv_heads: dims.kv_heads as usize,
        key_dim: dims.head_dim_k as usize,
        value_dim: dims.head_dim_v as usize,
        scale: 1.0 / (dims.head_dim_k as f32).sqrt(),
    };
    let widths = Register::ALL.map(|register| match register {
        Register::Hidden | Register::Normed => dims.embedding as usize,
        Register::Query => attention.heads * attention.key_dim,
        Register::Key => attention.kv_heads * attention.key_dim,
        Register::Value => attention.kv_heads * attention.value_dim,
        Register::Attended => attention.heads * attention.value_dim,
        Register::Gate | Register::Up => dims.ffn as usize,
        Register::Logits => dims.vocab as usize,
    });

    let mut build = Builder { weights: Vec::new(), epsilon: model.rms_epsilon };
    let table = build.weight(token_embedding);
    let prologue = vec![Node::Embed { table, out: Register::Hidden }];
    let layers = layers.iter().map(|layer| build.layer(layer, &attention)).collect();
    let norm = build.norm(output_norm);
    // A tied head is the embedding's table once more.
    let head = output.as_ref().map_or(table, |head| build.weight(head));
    let epilogue = vec![
        Node::LastRow { at: Register::Hidden },
        Node::RmsNorm { input: Register::Hidden, norm, out: Register::Normed },
        Node::Linear { input: Register::Normed, weight: head, out: Register::Logits },
    ];
    let weights = build.weights;
    Graph { prologue, layers, epilogue, weights, rope: model.rope.clone(), attention, widths }
}

struct Builder {
    weights: Vec<Weight>,
    epsilon: f32,
}

impl Builder {
    fn weight(&mut self, tensor: &Tensor) -> WeightId {
        // A tensor's elements are in memory as `f32`, so they fit a `usize`.
        let shape = match tensor.shape.as_slice() {
            [outputs, inputs] => WeightShape::Matrix { outputs: *outputs as usize, inputs: *inputs as usize },
            _ => WeightShape::Vector { len: tensor.elements() as usize },
        };
        self.weights.push(Weight { tensor: tensor.clone(), shape });
        WeightId(self.weights.len() - 1)
    }

    fn norm(&mut self, tensor: &Tensor) -> Norm {
        Norm { weight: self.weight(tensor), epsilon: self.epsilon }
    }

    fn layer(&mut self, weights: &LayerWeights, attention: &Attention) -> Vec<Node> {
        use Register::{Attended, Gate, Hidden, Key, Normed, Query, Up, Value};
        let LayerWeights { attention_norm, query, key, value, attention_output, ffn_norm, gate, up, down } =
            weights;
        vec![
            Node::RmsNorm { input: Hidden, norm: self.norm(attention_norm), out: Normed },
            Node::Linear { input: Normed, weight: self.weight(query), out: Query },
            Node::Linear { input: Normed, weight: self.weight(key), out: Key },
            Node::Linear { input: Normed, weight: self.weight(value), out: Value },
            Node::Rope { at: Query, heads: attention.heads },
            Node::Rope { at: Key, heads: attention.kv_heads },
            Node::Append { keys: Key, values: Value },
            Node::Attend { query: Query, out: Attended },
            Node::Linear { input: Attended, weight: self.weight(attention_output), out: Normed },
            Node::Add { input: Normed, out: Hidden },
            Node::RmsNorm { input: Hidden, norm: self.norm(ffn_norm), out: Normed },
            Node::Linear { input: Normed, weight: self.weight(gate), out: Gate },
            Node::Linear { input: Normed, weight: self.weight(up), out: Up },
            Node::SiluGate { gate: Gate, out: Up },
            Node::Linear { input: Up, weight: self.weight(down), out: Normed },
            Node::Add { input: Normed, out: Hidden },
        ]
    }
}

#[cfg(test)]
mod tests {
    use hearth_model::testing::TinyLlama;
    use hearth_model::{Model, gguf};

    use crate::arch::{Node, WeightId, graph};

    fn model(tiny: &TinyLlama) -> Model {
        let bytes = tiny.builder().build();
        let gguf::Progress::Done(header) = gguf::parse(&bytes, Some(bytes.len() as u64)).unwrap() else {
            panic!("the whole file was there");
        };
        Model::from_gguf(&header).unwrap()
    }

    #[test]
    fn every_weight_is_used_and_a_tied_head_is_not_another_one() {
        for tied in [true, false] {
            let graph = graph(&model(&TinyLlama { tied, ..TinyLlama::new(1) }));
            let nodes = graph.prologue.iter().chain(graph.layers.iter().flatten()).chain(&graph.epilogue);
            let mut used = nodes.filter_map(|node| match node {
                Node::Embed { table, .. } => Some(*table),
                Node::RmsNorm { norm, .. } => Some(norm.weight),
                Node::Linear { weight, .. } => Some(*weight),
                _ => None,
            });
            let used = used.by_ref().map(|WeightId(id)| id).collect::<std::collections::BTreeSet<_>>();
            assert!(used.into_iter().eq(0..graph.weights.len()));
            assert_eq!(graph.weights.len(), 2 * 9 + 2 + usize::from(!tied));
        }
    }
}
