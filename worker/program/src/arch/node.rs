//! The nodes that graphs are made of.

use hearth_model::Tensor;
use hearth_model::arch::Rope;

/// What a model computes for `rows` consecutive tokens of one sequence. Nodes run
/// in order and read and write registers.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// From tokens to the residual stream.
    pub prologue: Vec<Node>,
    /// One list a decoder layer; each layer has its own keys and values.
    pub layers: Vec<Vec<Node>>,
    /// From the residual stream to logits; runs only for rows whose logits are
    /// wanted.
    pub epilogue: Vec<Node>,
    /// What the nodes multiply with, each once.
    pub weights: Vec<Weight>,
    /// The position embedding of all layers.
    pub rope: Rope,
    /// The attention of all layers.
    pub attention: Attention,
    /// Columns of every register, in the order of [`Register::ALL`].
    pub widths: [usize; Register::ALL.len()],
}

/// A tensor that the graph needs, and as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// Where it lies in the file.
    pub tensor: Tensor,
    /// What shape it has.
    pub shape: WeightShape,
}

/// The shape of a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightShape {
    /// `[len]`.
    Vector {
        /// Elements.
        len: usize,
    },
    /// `[outputs, inputs]`, inputs next to each other.
    Matrix {
        /// Rows.
        outputs: usize,
        /// Columns.
        inputs: usize,
    },
}

/// An index into [`Graph::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WeightId(pub usize);

/// Holds a tensor `[rows, width]` between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Register {
    /// The residual stream.
    Hidden,
    /// A normalised copy of it; also what a block adds to it.
    Normed,
    /// Queries of all heads, next to each other.
    Query,
    /// New keys of all heads.
    Key,
    /// New values of all heads.
    Value,
    /// What attention read for every head.
    Attended,
    /// The gate of the feed-forward network.
    Gate,
    /// What the gate lets through.
    Up,
    /// One number a token of the vocabulary.
    Logits,
}

impl Register {
    /// All registers.
    pub const ALL: [Self; 9] = [
        Self::Hidden,
        Self::Normed,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Attended,
        Self::Gate,
        Self::Up,
        Self::Logits,
    ];
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
}

/// A root-mean-square norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// A vector to multiply with.
    pub weight: WeightId,
    /// Added to the mean square before the root.
    pub epsilon: f32,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// `out = table[token]`, a row a token.
    Embed {
        /// `[vocabulary, width]`.
        table: WeightId,
        /// Takes the rows.
        out: Register,
    },
    /// `out = input / rms(input) · weight`, a row at a time.
    RmsNorm {
        /// What is normalised.
        input: Register,
        /// By what.
        norm: Norm,
        /// Takes the result.
        out: Register,
    },
    /// `out = input · weightᵀ`.
    Linear {
        /// `[rows, inputs]`.
        input: Register,
        /// `[outputs, inputs]`.
        weight: WeightId,
        /// `[rows, outputs]`.
        out: Register,
    },
    /// Turns the pairs of every head by the row's position, in place.
    Rope {
        /// `[rows, heads · key_dim]`.
        at: Register,
        /// Heads in the register.
        heads: usize,
    },
    /// Appends keys and values to those of the layer.
    Append {
        /// `[rows, kv_heads · key_dim]`.
        keys: Register,
        /// `[rows, kv_heads · value_dim]`.
        values: Register,
    },
    /// `out = softmax(query · keysᵀ · scale) · values` a head, over all keys up to
    /// the row's own.
    Attend {
        /// `[rows, heads · key_dim]`.
        query: Register,
        /// `[rows, heads · value_dim]`.
        out: Register,
    },
    /// `out = silu(gate) · out`, element by element.
    SiluGate {
        /// The gate.
        gate: Register,
        /// What is let through.
        out: Register,
    },
    /// `out = out + input`, element by element.
    Add {
        /// What is added.
        input: Register,
        /// What it is added to.
        out: Register,
    },
    /// Keeps the last row of the register.
    LastRow {
        /// The register.
        at: Register,
    },
}
