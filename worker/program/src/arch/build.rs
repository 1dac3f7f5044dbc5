//! The graph of a model: one builder for all architectures, since a model's design
//! says what it has and what not.

use hearth_model::arch::{
    AttentionWeights, BlockNorms, Design, FfnWeights, HeadNorms, LayerDesign, LayerWeights, Linear,
    NormWeights, Pooling, Purpose, Weights,
};
use hearth_model::{Dims, Model, Tensor};

use super::{
    Attention, Experts, Graph, Layer, Node, Norm, Register, RopeId, Sight, TableRows, Weight, WeightId,
    WeightShape,
};

/// The graph of a model.
#[must_use]
pub fn graph(model: &Model) -> Graph {
    let Model { dims, design, weights, .. } = model;
    let Weights {
        token_embedding,
        position_embedding,
        type_embedding,
        embedding_norm,
        layers,
        output_norm,
        output,
    } = weights;
    let mut build = Builder { design, dims, weights: Vec::new(), widths: [0; Register::ALL.len()] };

    let table = build.matrix(token_embedding);
    let hidden = Register::Hidden;
    let mut prologue = vec![Node::Embed { table, out: hidden }];
    build.width(hidden, dims.embedding);
    if let Some(kinds) = type_embedding {
        let table = build.matrix(kinds);
        prologue.push(Node::AddRows { table, rows: TableRows::Only(0), out: hidden });
    }
    if let Some(positions) = position_embedding {
        let table = build.matrix(positions);
        prologue.push(Node::AddRows { table, rows: TableRows::Position, out: hidden });
    }
    prologue.extend(embedding_norm.iter().map(|norm| build.norm(norm, hidden, hidden)));
    prologue.extend(scale(hidden, design.embedding_scale));

    let layers = layers.iter().zip(&design.layers);
    let layers = layers.map(|(weights, design)| build.layer(weights, design)).collect();

    let (epilogue, answer) = match design.purpose {
        Purpose::Generate => (build.logits(output_norm.as_ref(), output.as_ref(), table), Register::Logits),
        Purpose::Embed(pooling) => build.embedding(output_norm.as_ref(), pooling),
    };
    let Builder { weights, widths, .. } = build;
    Graph { prologue, layers, epilogue, answer, weights, ropes: design.ropes.clone(), widths }
}

struct Builder<'a> {
    design: &'a Design,
    dims: &'a Dims,
    weights: Vec<Weight>,
    widths: [usize; Register::ALL.len()],
}

fn scale(at: Register, factor: f32) -> Option<Node> {
    (factor != 1.0).then_some(Node::Scale { at, factor })
}

impl Builder<'_> {
    /// Notes that a register has that many columns.
    fn width(&mut self, register: Register, columns: u32) {
        let width = &mut self.widths[register as usize];
        *width = (*width).max(columns as usize);
    }

    fn weight(&mut self, tensors: Vec<Tensor>, shape: WeightShape, plus: f32) -> WeightId {
        self.weights.push(Weight { tensors, shape, plus });
        WeightId(self.weights.len() - 1)
    }

    fn vector(&mut self, tensor: &Tensor, plus: f32) -> WeightId {
        // A tensor's elements are in memory as `f32`, so they fit a `usize`.
        self.weight(vec![tensor.clone()], WeightShape::Vector { len: tensor.elements() as usize }, plus)
    }

    fn matrix(&mut self, tensor: &Tensor) -> WeightId {
        let inputs = tensor.shape.last().copied().unwrap_or(1);
        let outputs = (tensor.elements() / inputs) as usize;
        self.weight(vec![tensor.clone()], WeightShape::Matrix { outputs, inputs: inputs as usize }, 0.0)
    }

    /// A norm whose parts are as long as its weight.
    fn norm(&mut self, weights: &NormWeights, input: Register, out: Register) -> Node {
        let NormWeights { weight, bias, plus } = weights;
        let weight = self.vector(weight, *plus);
        let bias = bias.as_ref().map(|bias| self.vector(bias, 0.0));
        let norm = Norm { kind: self.design.norm, parts: 1, weight, bias, epsilon: self.design.epsilon };
        Node::Norm { input, norm, out }
    }

    /// A norm of the heads in a register, or of all of them together.
    fn head_norm(&mut self, weights: &NormWeights, at: Register, heads: usize) -> Node {
        let node = self.norm(weights, at, at);
        match (node, self.design.head_norms) {
            (Node::Norm { input, norm, out }, HeadNorms::Heads) => {
                Node::Norm { input, norm: Norm { parts: heads, ..norm }, out }
            }
            (node, _) => node,
        }
    }

    fn linear(&mut self, linear: &Linear, input: Register, out: Register) -> Node {
        let Linear { weight, bias } = linear;
        let weight = self.matrix(weight);
        let bias = bias.as_ref().map(|bias| self.vector(bias, 0.0));
        Node::Linear { input, weight, bias, out }
    }

    fn attention(&self, layer: &LayerDesign) -> Attention {
        let Dims { heads, kv_heads, head_dim_k, head_dim_v, .. } = *self.dims;
        Attention {
            heads: heads as usize,
            kv_heads: kv_heads as usize,
            key_dim: head_dim_k as usize,
            value_dim: head_dim_v as usize,
            scale: self.design.attention_scale,
            soft_cap: self.design.attention_cap,
            sight: match self.design.sees_ahead {
                true => Sight::All,
                false => Sight::Past { window: layer.window.map(|window| window as usize) },
            },
        }
    }

    fn layer(&mut self, weights: &LayerWeights, design: &LayerDesign) -> Layer {
        let LayerWeights { attention: block, ffn_norms, ffn } = weights;
        let attention = self.attention(design);
        let mut nodes = Vec::new();
        self.block(&mut nodes, &block.norms, |build, nodes, input| {
            build.attend(nodes, block, design, &attention, input);
            Register::Normed
        });
        self.block(&mut nodes, ffn_norms, |build, nodes, input| build.ffn(nodes, ffn, input));
        Layer { nodes, attention }
    }

    /// A block with its norms around it. `fill` adds the nodes that read a register and
    /// says where they leave what is added to the residual stream.
    fn block(
        &mut self,
        nodes: &mut Vec<Node>,
        norms: &BlockNorms,
        fill: impl FnOnce(&mut Self, &mut Vec<Node>, Register) -> Register,
    ) {
        let BlockNorms { before, after, sum } = norms;
        self.width(Register::Normed, self.dims.embedding);
        let input = match before {
            Some(norm) => {
                nodes.push(self.norm(norm, Register::Hidden, Register::Normed));
                Register::Normed
            }
            None => Register::Hidden,
        };
        let made = fill(self, nodes, input);
        nodes.extend(after.iter().map(|norm| self.norm(norm, made, made)));
        nodes.extend(scale(made, self.design.residual_scale));
        nodes.push(Node::Add { input: made, out: Register::Hidden });
        nodes.extend(sum.iter().map(|norm| self.norm(norm, Register::Hidden, Register::Hidden)));
    }

    fn attend(
        &mut self,
        nodes: &mut Vec<Node>,
        weights: &AttentionWeights,
        design: &LayerDesign,
        attention: &Attention,
        input: Register,
    ) {
        use Register::{Attended, Key, Normed, Query, Value};
        let AttentionWeights { norms: _, query, key, value, query_norm, key_norm, output } = weights;
        let Attention { heads, kv_heads, key_dim, value_dim, .. } = *attention;
        for (register, width) in [
            (Query, heads * key_dim),
            (Key, kv_heads * key_dim),
            (Value, kv_heads * value_dim),
            (Attended, heads * value_dim),
        ] {
            self.widths[register as usize] = width;
        }
        for (linear, out) in [(query, Query), (key, Key), (value, Value)] {
            nodes.push(self.linear(linear, input, out));
        }
        for (norm, at, heads) in [(query_norm, Query, heads), (key_norm, Key, kv_heads)] {
            nodes.extend(norm.iter().map(|norm| self.head_norm(norm, at, heads)));
        }
        for (at, heads) in [(Query, heads), (Key, kv_heads)] {
            nodes.extend(design.rope.map(|rope| Node::Rope { at, heads, rope: RopeId(rope) }));
        }
        match attention.sight {
            Sight::Past { .. } => {
                nodes.push(Node::Append { keys: Key, values: Value });
                nodes.push(Node::Attend { query: Query, out: Attended });
            }
            Sight::All => {
                nodes.push(Node::AttendRows { query: Query, keys: Key, values: Value, out: Attended });
            }
        }
        nodes.push(self.linear(output, Attended, Normed));
    }

    fn ffn(&mut self, nodes: &mut Vec<Node>, weights: &FfnWeights, input: Register) -> Register {
        use Register::{Gate, Mixed, Normed, Up};
        let activation = self.design.activation;
        match weights {
            FfnWeights::Gated { gate, up, down } => {
                self.widths_of_ffn(&[Gate, Up], up);
                nodes.push(self.linear(gate, input, Gate));
                nodes.push(self.linear(up, input, Up));
                nodes.push(Node::Gate { activation, gate: Gate, out: Up });
                nodes.push(self.linear(down, Up, Normed));
                Normed
            }
            FfnWeights::Plain { up, down } => {
                self.widths_of_ffn(&[Up], up);
                nodes.push(self.linear(up, input, Up));
                nodes.push(Node::Activate { activation, at: Up });
                nodes.push(self.linear(down, Up, Normed));
                Normed
            }
            FfnWeights::Experts { router, gate, up, down, ffn } => {
                self.width(Mixed, self.dims.embedding);
                let routing = self.design.routing;
                let experts = routing.map_or(0, |routing| routing.experts as usize);
                let (ffn, width) = (*ffn as usize, self.dims.embedding as usize);
                let wide = WeightShape::Experts { experts, outputs: ffn, inputs: width };
                let narrow = WeightShape::Experts { experts, outputs: width, inputs: ffn };
                let experts = Experts {
                    router: self.matrix(router),
                    gate: self.weight(gate.clone(), wide, 0.0),
                    up: self.weight(up.clone(), wide, 0.0),
                    down: self.weight(down.clone(), narrow, 0.0),
                    experts,
                    used: routing.map_or(0, |routing| routing.used as usize),
                    normalised: routing.is_some_and(|routing| routing.normalised),
                    activation,
                };
                nodes.push(Node::Experts { input, experts, out: Mixed });
                Mixed
            }
        }
    }

    fn widths_of_ffn(&mut self, registers: &[Register], up: &Linear) {
        let columns = up.weight.shape.first().copied().unwrap_or(0) as usize;
        for register in registers {
            let width = &mut self.widths[*register as usize];
            *width = (*width).max(columns);
        }
    }

    /// From the residual stream to logits. A tied head is the embedding's table once
    /// more.
    fn logits(&mut self, norm: Option<&NormWeights>, head: Option<&Tensor>, table: WeightId) -> Vec<Node> {
        use Register::{Hidden, Logits, Normed};
        self.width(Logits, self.dims.vocab);
        let mut nodes = vec![Node::KeepAnswered { at: Hidden }];
        nodes.extend(norm.map(|norm| self.norm(norm, Hidden, Normed)));
        let input = if norm.is_some() { Normed } else { Hidden };
        let weight = head.map_or(table, |head| self.matrix(head));
        nodes.push(Node::Linear { input, weight, bias: None, out: Logits });
        nodes.extend(scale(Logits, self.design.logit_scale));
        nodes.extend(self.design.logit_cap.map(|cap| Node::SoftCap { at: Logits, cap }));
        nodes
    }

    /// From the residual stream to a vector of length 1, and where it is.
    fn embedding(&mut self, norm: Option<&NormWeights>, pooling: Pooling) -> (Vec<Node>, Register) {
        use Register::{Hidden, Normed};
        let at = if norm.is_some() { Normed } else { Hidden };
        let mut nodes = Vec::new();
        if pooling == Pooling::Last {
            nodes.push(Node::KeepAnswered { at: Hidden });
        }
        nodes.extend(norm.map(|norm| self.norm(norm, Hidden, Normed)));
        match pooling {
            Pooling::Last => {}
            Pooling::Mean => nodes.push(Node::Mean { at }),
            Pooling::First => nodes.push(Node::First { at }),
        }
        nodes.push(Node::UnitLength { at });
        (nodes, at)
    }
}

#[cfg(test)]
mod tests {
    use hearth_model::testing::TinyLlama;
    use hearth_model::{Model, gguf};

    use super::graph;
    use crate::arch::{Node, WeightId};

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
