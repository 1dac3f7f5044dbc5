//! What stands between text and tokens.
//!
//! - [`tokenizer`] turns text into ids and ids into bytes, as a model's files say;
//! - [`template`] writes a chat as the text that a model was trained on;
//! - [`Output`] gives generated tokens out as whole characters, up to a stop
//!   sequence;
//! - [`TextModel`] holds what a loaded model needs of all that.
//!
//! Absent: devices, sockets, files. Everything here is a function of its arguments.
//! A template runs on a thread, for its stack, and is waited for.

mod input;
mod json;
mod model;
mod output;
mod stop;
pub mod template;
pub mod tokenizer;
mod utf8;

pub use input::{Chat, ChatMessage, Input, InputError};
pub use json::Json;
pub use model::{BuildError, TextModel};
pub use output::Output;
pub use stop::Scan;
