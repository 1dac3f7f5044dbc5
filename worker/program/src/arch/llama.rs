//! The llama architecture.

use hearth_model::arch::{LayerWeights, Weights};
use hearth_model::{Model, Tensor};

use super::{
    Activation, Attention, Graph, Layer, Node, Norm, NormKind, Register, RopeId, Sight, Weight, WeightId,
    WeightShape,
};

pub(super) fn graph(model: &Model) -> Graph {
    let Weights { token_embedding, layers, output_norm, output } = &model.weights;
    let dims = &model.dims;
    let attention = Attention {
        heads: dims.heads as usize,
        kv_heads: dims.kv_heads as usize,
        key_dim: dims.head_dim_k as usize,
        value_dim: dims.head_dim_v as usize,
        scale: 1.0 / (dims.head_dim_k as f32).sqrt(),
        soft_cap: None,
        sight: Sight::Past { window: None },
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
    let layers =
        layers.iter().map(|layer| Layer { nodes: build.layer(layer, &attention), attention }).collect();
    let norm = build.norm(output_norm);
    // A tied head is the embedding's table once more.
    let head = output.as_ref().map_or(table, |head| build.weight(head));
    let epilogue = vec![
        Node::KeepAnswered { at: Register::Hidden },
        Node::Norm { input: Register::Hidden, norm, out: Register::Normed },
        Node::Linear { input: Register::Normed, weight: head, bias: None, out: Register::Logits },
    ];
    let weights = build.weights;
    let ropes = vec![model.rope.clone()];
    Graph { prologue, layers, epilogue, answer: Register::Logits, weights, ropes, widths }
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
        self.weights.push(Weight { tensors: vec![tensor.clone()], shape, plus: 0.0 });
        WeightId(self.weights.len() - 1)
    }

    fn norm(&mut self, tensor: &Tensor) -> Norm {
        Norm { kind: NormKind::Rms, parts: 1, weight: self.weight(tensor), bias: None, epsilon: self.epsilon }
    }

    fn layer(&mut self, weights: &LayerWeights, attention: &Attention) -> Vec<Node> {
        use Register::{Attended, Gate, Hidden, Key, Normed, Query, Up, Value};
        let LayerWeights { attention_norm, query, key, value, attention_output, ffn_norm, gate, up, down } =
            weights;
        vec![
            Node::Norm { input: Hidden, norm: self.norm(attention_norm), out: Normed },
            Node::Linear { input: Normed, weight: self.weight(query), bias: None, out: Query },
            Node::Linear { input: Normed, weight: self.weight(key), bias: None, out: Key },
            Node::Linear { input: Normed, weight: self.weight(value), bias: None, out: Value },
            Node::Rope { at: Query, heads: attention.heads, rope: RopeId(0) },
            Node::Rope { at: Key, heads: attention.kv_heads, rope: RopeId(0) },
            Node::Append { keys: Key, values: Value },
            Node::Attend { query: Query, out: Attended },
            Node::Linear { input: Attended, weight: self.weight(attention_output), bias: None, out: Normed },
            Node::Add { input: Normed, out: Hidden },
            Node::Norm { input: Hidden, norm: self.norm(ffn_norm), out: Normed },
            Node::Linear { input: Normed, weight: self.weight(gate), bias: None, out: Gate },
            Node::Linear { input: Normed, weight: self.weight(up), bias: None, out: Up },
            Node::Gate { activation: Activation::Silu, gate: Gate, out: Up },
            Node::Linear { input: Up, weight: self.weight(down), bias: None, out: Normed },
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
            let mut used = graph.nodes().filter_map(|node| match node {
                Node::Embed { table, .. } => Some(*table),
                Node::Norm { norm, .. } => Some(norm.weight),
                Node::Linear { weight, .. } => Some(*weight),
                _ => None,
            });
            let used = used.by_ref().map(|WeightId(id)| id).collect::<std::collections::BTreeSet<_>>();
            assert!(used.into_iter().eq(0..graph.weights.len()));
            assert_eq!(graph.weights.len(), 2 * 9 + 2 + usize::from(!tied));
        }
    }
}
