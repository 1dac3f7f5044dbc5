//! Small model files for tests, of this crate and of others.

mod builder;
mod tiny;

pub use builder::{GgufBuilder, write_value};
pub use tiny::{TINY_CHAT_TEMPLATE, TinyLlama, byte_characters, tiny_llama, tiny_llama_gguf};
