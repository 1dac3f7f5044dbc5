//! CPU kernels: packed weights and the loops over them.
//!
//! Each kernel has a portable twin in plain Rust that defines its result: the same
//! integer arithmetic and the same order of `f32` operations. The versions for an
//! instruction set ([`isa::Isa`]) are equal to it to the bit.
//!
//! - [`pack`]: the form in which weights lie in memory;
//! - [`linear`]: activations times packed weights;
//! - [`kv`]: the pages of keys and values, and [`attend`] over them;
//! - [`elementwise`]: norms, rotary positions, gates, sums;
//! - [`arena`]: the memory that all of these work on, and [`pool`]: the threads.

pub mod arena;
pub mod attend;
pub mod elementwise;
pub mod isa;
pub mod kv;
mod lanes;
pub mod linear;
pub mod pack;
pub mod pool;
