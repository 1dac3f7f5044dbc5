//! Picking tokens: from the logits of a model to the id that comes next.
//!
//! Absent: tensors, devices, threads, async runtimes.

mod random;
pub mod sampler;
mod sampling;

pub use sampler::Sampler;
pub use sampling::Sampling;
