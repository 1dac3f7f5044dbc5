//! What callers say to an engine and what they hear from it.
//!
//! Nothing here knows of a device: these types are the boundary between the
//! process that holds the network and the thread that holds the device.

mod backend;
mod cancel;
mod item;
mod load;
mod request;

pub use backend::{Backend, SimulatedConfig, StartError};
pub use cancel::Cancel;
pub use hearth_cpu::CpuConfig;
pub use hearth_reference::{Compute, OpenError};
pub use hearth_sample::{Dry, Grammar, LogitBias, Sampling};
pub use hearth_text::{Chat, ChatMessage, Input, Json};
pub use item::{FinishReason, Gone, Item, Sink, TokenLogprob, TokenLogprobs, Usage};
pub use load::{LoadError, LoadEvent, LoadSpec, Phase, UnknownModel};
pub use request::{MAX_GUESSES, MAX_SALT_BYTES, MAX_STOP_SEQUENCES, Request, RequestError, Shortcuts, Stop};

pub(crate) use cancel::Cancelled;
pub(crate) use item::Outlet;
pub(crate) use load::Listener;
