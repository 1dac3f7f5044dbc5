//! The inference engine.
//!
//! An [`Engine`] is a handle to one thread that holds one device. Models are
//! loaded into it and requests are streamed from it through callbacks, so that
//! callers are free to wait in any way they like:
//!
//! - a [`Program`](hearth_program::Program) is what computes: [`hearth_reference`]
//!   with plain tensors, [`simulated`] makes text up;
//! - [`batch`] shares a program among requests: admission, chunked prefill,
//!   decode, guesses, cancellation;
//! - `kv` lends a program's pages to requests, and finds what they have in common;
//! - [`hearth_text`] is what stands between text and tokens: tokenizers,
//!   templates, stop sequences;
//! - [`hearth_sample`] picks tokens.
//!
//! Absent: sockets, async runtimes, clusters. The engine reads a file and
//! answers on channels.

mod api;
pub mod batch;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod handle;
mod kv;
mod loader;
mod pulse;
mod reader;
pub mod simulated;
mod stats;
mod thread;

pub use api::{
    Backend, Cancel, Chat, ChatMessage, Compute, CpuConfig, Dry, FinishReason, Gone, Grammar, Input, Item,
    Json, LoadError, LoadEvent, LoadSpec, LogitBias, MAX_GUESSES, MAX_SALT_BYTES, MAX_STOP_SEQUENCES,
    OpenError, Phase, Request, RequestError, Sampling, Shortcuts, SimulatedConfig, Sink, StartError, Stop,
    TokenLogprob, TokenLogprobs, UnknownModel, Usage,
};
pub use handle::Engine;
pub use pulse::{Pulse, StepUnderWay};
pub use stats::{Counts, Pages, Stats};
