//! Running a graph's nodes.

use burn::tensor::activation::silu;
use burn::tensor::{Int, Tensor, TensorData};

use hearth_program::arch::{Node, Norm, Register};
use hearth_program::{Row, StepError};

use crate::ReferenceProgram;
use crate::attention::attend;
use crate::kv::KvCache;
use crate::rope::Turns;

/// What the registers hold while a row is computed.
#[derive(Default)]
struct Registers([Option<Tensor<2>>; Register::ALL.len()]);

impl Registers {
    /// # Panics
    /// Nothing was written there: the graph contradicts itself.
    fn get(&self, register: Register) -> Tensor<2> {
        let Some(tensor) = &self.0[register as usize] else {
            panic!("{register:?} is read before it is written")
        };
        tensor.clone()
    }

    /// As [`Registers::get`], but leaves nothing behind, so that what follows can
    /// work in place.
    fn take(&mut self, register: Register) -> Tensor<2> {
        let taken = self.0[register as usize].take();
        let Some(tensor) = taken else { panic!("{register:?} is read before it is written") };
        tensor
    }

    fn set(&mut self, register: Register, tensor: Tensor<2>) {
        self.0[register as usize] = Some(tensor);
    }
}

impl ReferenceProgram {
    /// Takes one sequence's tokens through the model.
    pub(crate) fn run(&self, row: &mut Row<'_, KvCache>) -> Result<Option<Vec<f32>>, StepError> {
        let Row { cache, start, tokens, stage } = row;
        let held = (0..self.graph.layers.len()).find(|layer| cache.tokens(*layer) != *start);
        if let Some(layer) = held {
            let message = format!("a row starts at {start} and layer {layer} holds {}", cache.tokens(layer));
            return Err(StepError { message });
        }
        let turns = self.rope.turns(*start, tokens.len());
        let mut registers = Registers::default();
        for node in &self.graph.prologue {
            self.node(node, 0, tokens, &turns, cache, &mut registers);
        }
        for (layer, nodes) in self.graph.layers.iter().enumerate() {
            for node in nodes {
                self.node(node, layer, tokens, &turns, cache, &mut registers);
            }
        }
        if !stage.wants_logits() {
            return Ok(None);
        }
        for node in &self.graph.epilogue {
            self.node(node, 0, tokens, &turns, cache, &mut registers);
        }
        let logits = registers.take(Register::Logits).try_into_vec_as::<f32>();
        logits.map(Some).map_err(|error| StepError { message: error.to_string() })
    }

    fn node(
        &self,
        node: &Node,
        layer: usize,
        tokens: &[u32],
        turns: &Turns,
        cache: &mut KvCache,
        registers: &mut Registers,
    ) {
        let attention = &self.graph.attention;
        match *node {
            Node::Embed { table, out } => {
                let table = self.weights.matrix(table);
                let ids = tokens.iter().map(|id| i64::from(*id)).collect::<Vec<_>>();
                let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [tokens.len()]), &table.device());
                registers.set(out, table.select(0, ids));
            }
            Node::RmsNorm { input, norm: Norm { weight, epsilon }, out } => {
                let x = registers.get(input);
                let mean_square = x.clone().powi_scalar(2).mean_dim(1);
                let root = mean_square.add_scalar(epsilon).sqrt();
                registers.set(out, x / root * self.weights.vector(weight).unsqueeze::<2>());
            }
            Node::Linear { input, weight, out } => {
                let product = registers.get(input).matmul(self.weights.matrix(weight).transpose());
                registers.set(out, product);
            }
            Node::Rope { at, heads } => {
                let x = split(registers.take(at), heads);
                registers.set(at, join(turns.apply(x)));
            }
            Node::Append { keys, values } => {
                let heads = |register| split(registers.get(register), attention.kv_heads).swap_dims(0, 1);
                cache.append(layer, &heads(keys), &heads(values));
            }
            Node::Attend { query, out } => {
                let (keys, values) = cache.read(layer);
                let read = attend(attention, registers.take(query), keys, values);
                registers.set(out, read);
            }
            Node::SiluGate { gate, out } => {
                let (gate, through) = (registers.take(gate), registers.take(out));
                registers.set(out, silu(gate) * through);
            }
            Node::Add { input, out } => {
                let sum = registers.take(out) + registers.get(input);
                registers.set(out, sum);
            }
            Node::LastRow { at } => {
                let x = registers.take(at);
                let [rows, width] = x.dims();
                registers.set(at, x.slice([rows - 1..rows, 0..width]));
            }
        }
    }
}

/// `[rows, heads · dim]` as `[rows, heads, dim]`.
fn split(x: Tensor<2>, heads: usize) -> Tensor<3> {
    let [rows, width] = x.dims();
    x.reshape([rows, heads, width / heads])
}

fn join(x: Tensor<3>) -> Tensor<2> {
    let [rows, heads, dim] = x.dims();
    x.reshape([rows, heads * dim])
}
