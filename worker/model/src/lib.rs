//! Model files: headers, architectures, and the memory that a model needs.
//!
//! - [`gguf`] and [`safetensors`] turn the first bytes of a file into a [`Header`];
//! - [`arch::Model`] is a header that has been checked: once built, its tensors are
//!   there, in the shapes that its numbers say;
//! - [`footprint()`] says what a model takes on a device, part by part, from
//!   [`Dims`] alone, so that a planner holds neither vocabularies nor tensor lists;
//! - [`dequant`] turns packed blocks into `f32`; [`packing`] says what they take in a
//!   CPU's memory.
//!
//! Nothing here waits or opens a socket: the parsers are fed bytes and say how
//! many more they want.

pub mod arch;
pub mod dequant;
mod dtype;
pub mod footprint;
pub mod gguf;
mod header;
mod layout;
mod metadata;
pub mod packing;
pub mod prefix;
pub mod quantization;
pub mod safetensors;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use arch::{ArchError, Architecture, Dims, Model, Purpose, RopePairs, RopeScaling};
pub use dtype::DType;
pub use footprint::{Footprint, KvType, Shape, WeightStorage, footprint};
pub use header::{Format, Header, HeaderError, Problem, ReadError, Tensor};
pub use layout::MAX_FILE_BYTES;
pub use metadata::{Array, Metadata, MetadataError, Value};
pub use prefix::Progress;
