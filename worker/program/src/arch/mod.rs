//! Architectures as data: lists of pure nodes.
//!
//! A [`Graph`] says what a model computes for the rows of one sequence, and
//! nothing about how: `reference` interprets it node by node, and faster
//! engines replace runs of nodes by kernels of their own. What distinguishes an
//! architecture is which nodes it lists; a model's design and weights say which.

mod build;
mod graph;
mod node;
mod weight;

pub use build::graph;
pub use graph::{Attention, Graph, Layer, RopeId, Sight};
pub use hearth_model::arch::Activation;
pub use node::{Experts, Node, Norm, NormKind, Register, TableRows};
pub use weight::{Weight, WeightId, WeightShape};
