//! What stands between text and tokens.
//!
//! - [`tokenizer`] turns text into ids and ids into bytes, as a model's file says;
//! - [`template`] writes a chat as the text that a model was trained on;
//! - [`Output`] gives generated tokens out as whole characters, up to a stop
//!   sequence;
//! - [`TextModel`] holds what a loaded model needs of all that.
//!
//! Absent: devices, threads, sockets. Everything here is a function of its
//! arguments, but for the clock that a template may ask for the date.

mod input;
mod model;
mod output;
mod stop;
pub mod template;
pub mod tokenizer;
mod utf8;

pub use input::{ChatMessage, Input, InputError};
pub use model::{BuildError, TextModel};
pub use output::Output;
pub use stop::Scan;
