//! A whole model as nodes.

use hearth_model::arch::Rope;

use crate::Output;

use super::node::{Node, Register};
use super::weight::Weight;

/// What a model computes for `rows` consecutive tokens of one sequence. Nodes run
/// in order and read and write registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// From tokens to the residual stream.
    pub prologue: Vec<Node>,
    /// The layers, one after another.
    pub layers: Vec<Layer>,
    /// From the residual stream to an answer; runs only for rows that are answered.
    pub epilogue: Vec<Node>,
    /// Where the epilogue leaves the answers, a row each.
    pub answer: Register,
    /// What the nodes multiply with, each once.
    pub weights: Vec<Weight>,
    /// The position embeddings that layers choose from; none if no layer turns.
    pub ropes: Vec<Rope>,
    /// Columns of every register, in the order of [`Register::ALL`].
    pub widths: [usize; Register::ALL.len()],
}

impl Graph {
    /// Columns of a register; 0 if no node uses it.
    #[must_use]
    pub fn width(&self, register: Register) -> usize {
        self.widths[register as usize]
    }

    /// What the answers are.
    #[must_use]
    pub fn output(&self) -> Output {
        let width = self.width(self.answer);
        match self.answer {
            Register::Logits => Output::Logits { vocabulary: width },
            _ => Output::Embedding { width },
        }
    }

    /// How far back each layer that keeps keys and values looks, in order: `window`
    /// tokens up to and with its own, or all. Empty if no layer keeps any.
    pub fn windows(&self) -> impl Iterator<Item = Option<usize>> {
        self.layers.iter().filter_map(|layer| match layer.attention.sight {
            Sight::Past { window } => Some(window),
            Sight::All => None,
        })
    }

    /// Whether tokens see those behind them. All tokens of a sequence have to come
    /// in one row then, and nothing of them is kept.
    #[must_use]
    pub fn sees_ahead(&self) -> bool {
        self.layers.iter().any(|layer| layer.attention.sight == Sight::All)
    }

    /// Every node, in the order in which they run.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        let layers = self.layers.iter().flat_map(|layer| &layer.nodes);
        self.prologue.iter().chain(layers).chain(&self.epilogue)
    }
}

/// A layer, with keys and values of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// What its nodes do.
    pub nodes: Vec<Node>,
    /// How its heads read keys and values.
    pub attention: Attention,
}

/// How heads read keys and values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key and value heads. Query head `h` reads head `h / (heads / kv_heads)`.
    pub kv_heads: usize,
    /// Elements of a query and of a key.
    pub key_dim: usize,
    /// Elements of a value.
    pub value_dim: usize,
    /// Scores are multiplied with it.
    pub scale: f32,
    /// Scaled scores `s` become `cap · tanh(s / cap)`.
    pub soft_cap: Option<f32>,
    /// Which keys a token reads.
    pub sight: Sight,
}

/// Which tokens of its sequence a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Itself and those before it.
    Past {
        /// Only so many, itself among them; at least 1.
        window: Option<usize>,
    },
    /// All of them: the layer keeps nothing.
    All,
}

/// An index into [`Graph::ropes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RopeId(pub usize);
