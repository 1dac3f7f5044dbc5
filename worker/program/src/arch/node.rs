//! The nodes that graphs are made of.

use hearth_model::arch::Activation;

use super::graph::RopeId;
use super::weight::WeightId;

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
    /// What experts add to the residual stream.
    Mixed,
    /// One number a token of the vocabulary.
    Logits,
}

impl Register {
    /// All registers.
    pub const ALL: [Self; 10] = [
        Self::Hidden,
        Self::Normed,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Attended,
        Self::Gate,
        Self::Up,
        Self::Mixed,
        Self::Logits,
    ];
}

/// A norm. A row is `parts` vectors of equal length next to each other (its heads,
/// or the whole row as one), each normalised on its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Norm {
    /// What is divided by what.
    pub kind: NormKind,
    /// Vectors in a row; divides the width.
    pub parts: usize,
    /// Multiplied with every part: `[width / parts]`.
    pub weight: WeightId,
    /// Added after that: `[width / parts]`.
    pub bias: Option<WeightId>,
    /// Added under the root.
    pub epsilon: f32,
}

pub use hearth_model::arch::NormKind;

/// Which rows of a table are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableRows {
    /// The row of each token's position in its sequence.
    Position,
    /// The same row for every token.
    Only(usize),
}

/// A feed-forward network of which every token takes a few of several.
///
/// For each token: scores are `softmax(input · routerᵀ)` over all experts; the `used`
/// largest are chosen (of equal ones the first); with `normalised` they are divided by
/// their sum; the result is the sum of the chosen experts' `(activation(input · gateᵀ)
/// * (input · upᵀ)) · downᵀ`, each times its score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Experts {
    /// `[experts, width]`.
    pub router: WeightId,
    /// `[experts, ffn, width]`.
    pub gate: WeightId,
    /// `[experts, ffn, width]`.
    pub up: WeightId,
    /// `[experts, width, ffn]`.
    pub down: WeightId,
    /// How many there are.
    pub experts: usize,
    /// How many a token takes: 1 to `experts`.
    pub used: usize,
    /// Whether the scores of those sum up to 1.
    pub normalised: bool,
    /// Of the gate.
    pub activation: Activation,
}

/// One operation. Where it has an `out` beside an `input`, they may be the same
/// register only in [`Node::Norm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// `out = table[token]`, a row a token.
    Embed {
        /// `[vocabulary, width]`.
        table: WeightId,
        /// Takes the rows.
        out: Register,
    },
    /// `out = out + table[row]`.
    AddRows {
        /// `[table rows, width]`.
        table: WeightId,
        /// Which row for which token.
        rows: TableRows,
        /// What they are added to.
        out: Register,
    },
    /// `out = norm(input)`, a row at a time.
    Norm {
        /// What is normalised.
        input: Register,
        /// By what.
        norm: Norm,
        /// Takes the result; may be `input`.
        out: Register,
    },
    /// `out = input · weightᵀ + bias`.
    Linear {
        /// `[rows, inputs]`.
        input: Register,
        /// `[outputs, inputs]`.
        weight: WeightId,
        /// `[outputs]`.
        bias: Option<WeightId>,
        /// `[rows, outputs]`.
        out: Register,
    },
    /// Turns the pairs of every head by the row's position, in place.
    Rope {
        /// `[rows, heads · key_dim]`.
        at: Register,
        /// Heads in the register.
        heads: usize,
        /// How fast they turn.
        rope: RopeId,
    },
    /// Appends keys and values to those of the layer.
    Append {
        /// `[rows, kv_heads · key_dim]`.
        keys: Register,
        /// `[rows, kv_heads · value_dim]`.
        values: Register,
    },
    /// `out = softmax(cap(query · keysᵀ · scale)) · values` a head, over the keys of the
    /// layer that [`super::Sight::Past`] says, as the layer's attention says the rest.
    Attend {
        /// `[rows, heads · key_dim]`.
        query: Register,
        /// `[rows, heads · value_dim]`.
        out: Register,
    },
    /// As [`Node::Attend`], but over the keys and values of all rows
    /// ([`super::Sight::All`]), of which nothing is kept.
    AttendRows {
        /// `[rows, heads · key_dim]`.
        query: Register,
        /// `[rows, kv_heads · key_dim]`.
        keys: Register,
        /// `[rows, kv_heads · value_dim]`.
        values: Register,
        /// `[rows, heads · value_dim]`.
        out: Register,
    },
    /// `out = activation(gate) · out`, element by element.
    Gate {
        /// Of the gate.
        activation: Activation,
        /// The gate.
        gate: Register,
        /// What is let through.
        out: Register,
    },
    /// `at = activation(at)`, element by element.
    Activate {
        /// The function.
        activation: Activation,
        /// The register.
        at: Register,
    },
    /// `out` = what the experts make of `input`.
    Experts {
        /// `[rows, width]`.
        input: Register,
        /// The experts.
        experts: Experts,
        /// `[rows, width]`.
        out: Register,
    },
    /// `out = out + input`, element by element.
    Add {
        /// What is added.
        input: Register,
        /// What it is added to.
        out: Register,
    },
    /// `at = at · factor`.
    Scale {
        /// The register.
        at: Register,
        /// The factor.
        factor: f32,
    },
    /// `at = cap · tanh(at / cap)`.
    SoftCap {
        /// The register.
        at: Register,
        /// What no element exceeds; over 0.
        cap: f32,
    },
    /// Keeps the rows that are answered: the last one of a prompt, all of a decoding
    /// row.
    KeepAnswered {
        /// The register.
        at: Register,
    },
    /// Keeps one row: the mean of all.
    Mean {
        /// The register.
        at: Register,
    },
    /// Keeps the first row.
    First {
        /// The register.
        at: Register,
    },
    /// Divides each row by its Euclidean length; a row of zeros stays.
    UnitLength {
        /// The register.
        at: Register,
    },
}
