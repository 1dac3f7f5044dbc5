//! Architectures as data: lists of pure nodes.
//!
//! A [`Graph`] says what a model computes for the rows of one sequence, and
//! nothing about how: `reference` interprets it node by node, and faster
//! engines replace runs of nodes by kernels of their own. What distinguishes an
//! architecture is which nodes it lists, so that a new one is a new list.

mod graph;
mod llama;
mod node;
mod weight;

use hearth_model::Model;
use hearth_model::arch::Architecture;

pub use graph::{Attention, Graph, Layer, RopeId, Sight};
pub use hearth_model::arch::Activation;
pub use node::{Experts, Node, Norm, NormKind, Register, TableRows};
pub use weight::{Weight, WeightId, WeightShape};

/// The graph of a model.
#[must_use]
pub fn graph(model: &Model) -> Graph {
    match model.architecture {
        Architecture::Llama => llama::graph(model),
    }
}
