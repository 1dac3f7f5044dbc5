//! What the graph's nodes become.

use std::ops::Range;

use hearth_kernels::attend::Look;
use hearth_kernels::linear::Cuts;
use hearth_program::arch::{Activation, Experts, Norm, Register, RopeId, TableRows, WeightId};

/// An operation, and the nodes that it replaces.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// What is done.
    pub(crate) op: Op,
    /// Indices into [`hearth_program::arch::Graph::nodes`], in their order.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold the operation against these nodes"))]
    pub(crate) replaces: Range<usize>,
}

/// A fused operation.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// `Embed`.
    Embed {
        /// `[vocabulary, width]`.
        table: WeightId,
        /// Takes the rows.
        out: Register,
    },
    /// `AddRows`.
    AddRows {
        /// `[table rows, width]`.
        table: WeightId,
        /// Which row for which token.
        rows: TableRows,
        /// What they are added to.
        out: Register,
    },
    /// `Norm`, alone.
    Norm {
        /// What is normalised.
        input: Register,
        /// By what.
        norm: Norm,
        /// Takes the result.
        out: Register,
    },
    /// `Norm?, Linear+, (Add | Gate | Activate)?`.
    Linears(Linears),
    /// `Norm?, Experts, Add?`.
    Mixture(Mixture),
    /// `Rope`, alone.
    Rope {
        /// The register.
        at: Register,
        /// Elements of a head.
        head_dim: usize,
        /// How fast they turn.
        rope: RopeId,
    },
    /// `(Norm | Rope)*, Append`: what is done to a token's queries, keys and values on
    /// the way to its page.
    Place(Place),
    /// `Attend`.
    Attend(Attend),
    /// `(Norm | Rope)*, AttendRows`: keys and values are kept while it runs.
    AttendRows(Place, Attend),
    /// `Gate`, alone.
    Gate {
        /// Of the gate.
        activation: Activation,
        /// The gate.
        gate: Register,
        /// What is let through.
        out: Register,
    },
    /// `Add`, alone.
    Add {
        /// What is added.
        input: Register,
        /// What it is added to.
        out: Register,
    },
    /// `Scale`, `SoftCap`, or `Activate` alone.
    Map {
        /// The register.
        at: Register,
        /// What is done with each element.
        map: Map,
    },
    /// `KeepAnswered`, `Mean` or `First`.
    Keep {
        /// The register.
        at: Register,
        /// What is kept.
        pooled: Pooled,
    },
    /// `UnitLength`.
    UnitLength {
        /// The register.
        at: Register,
    },
}

/// What of all rows is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pooled {
    /// The rows that are answered.
    Answered,
    /// A row a text: the mean of its rows.
    Mean,
    /// A row a text: its first.
    First,
}

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Map {
    /// Times the factor.
    Scale(f32),
    /// `cap · tanh(x / cap)`.
    SoftCap(f32),
    /// An activation.
    Activate(Activation),
}

/// Products of one register with up to three matrices, as one phase.
#[derive(Clone, Debug)]
pub(crate) struct Linears {
    /// What the input is made by, if it is made here.
    pub(crate) norm: Option<(Register, Norm)>,
    /// `[rows, inputs]`.
    pub(crate) input: Register,
    /// Whether a matrix takes it quantized, and whether one takes it as it is.
    pub(crate) quantized: bool,
    /// The matrices.
    pub(crate) parts: Vec<Part>,
    /// Their tiles, in runs; of the gate alone, if there is one.
    pub(crate) cuts: Cuts,
    /// What becomes of the products.
    pub(crate) effect: Effect,
}

/// A matrix and where its product goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    /// `[outputs, inputs]`.
    pub(crate) weight: WeightId,
    /// `[outputs]`.
    pub(crate) bias: Option<WeightId>,
    /// `[rows, outputs]`.
    pub(crate) out: Register,
}

/// What becomes of products.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Effect {
    /// They are kept.
    Keep,
    /// The only one is added to a register, and not kept.
    AddTo(Register),
    /// The first is the gate of the second, and not kept.
    Gate(Activation),
    /// The only one is activated.
    Activate(Activation),
}

/// Products of each row with the matrices of some experts.
#[derive(Clone, Debug)]
pub(crate) struct Mixture {
    /// What the input is made by, if it is made here.
    pub(crate) norm: Option<(Register, Norm)>,
    /// `[rows, inputs]`.
    pub(crate) input: Register,
    /// The experts.
    pub(crate) experts: Experts,
    /// Whether gates or what they let through take the input quantized.
    pub(crate) quantized: bool,
    /// Whether one of them takes it as it is.
    pub(crate) plain: bool,
    /// Whether what is let through is quantized.
    pub(crate) down_quantized: bool,
    /// Numbers that an expert's gate lets through.
    pub(crate) width: usize,
    /// The tiles of the router, in runs.
    pub(crate) router: Cuts,
    /// Those of an expert's gate.
    pub(crate) inner: Cuts,
    /// Those of what an expert's output is made with.
    pub(crate) outer: Cuts,
    /// Takes what the experts make.
    pub(crate) out: Register,
    /// What it is added to, beside.
    pub(crate) sum: Option<Register>,
}

/// What is done to a token's vectors before they are kept and looked with.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// In order, in place.
    pub(crate) turns: Vec<Turn>,
    /// `[rows, kv_heads · key_dim]`.
    pub(crate) keys: Register,
    /// `[rows, kv_heads · value_dim]`.
    pub(crate) values: Register,
    /// Where they are kept: an index into the layers that keep any.
    pub(crate) layer: usize,
}

/// Something that is done to rows in place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Turn {
    /// `Norm`.
    Norm {
        /// The register.
        at: Register,
        /// By what.
        norm: Norm,
    },
    /// `Rope`.
    Rope {
        /// The register.
        at: Register,
        /// Elements of a head.
        head_dim: usize,
        /// How fast they turn.
        rope: RopeId,
    },
}

impl Turn {
    /// What it is done to.
    pub(crate) fn at(&self) -> Register {
        match self {
            Self::Norm { at, .. } | Self::Rope { at, .. } => *at,
        }
    }
}

/// Attention of all rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attend {
    /// `[rows, heads · key_dim]`.
    pub(crate) query: Register,
    /// `[rows, heads · value_dim]`.
    pub(crate) out: Register,
    /// How heads look.
    pub(crate) look: Look,
    /// Whose pages: an index into the layers that keep any.
    pub(crate) layer: usize,
}
