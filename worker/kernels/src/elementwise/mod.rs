//! Kernels between the products: norms, rotary positions, gates, sums.
//!
//! They take little time, all of it on the way of the products, so none of them is
//! worth a phase of its own when few rows are computed. Each works on whole rows or on
//! any piece of one, and gives the same bits on every set of instructions.

mod activation;
mod norm;
mod rope;
#[cfg(test)]
mod tests;
mod zip;

pub use activation::{activate, gate};
pub use norm::{Norm, normalize, normalize_in_place, unit_length};
pub use rope::{Pairs, rope, turns};
pub(crate) use zip::capped;
pub use zip::{add, add_scaled, scale, soft_cap};
