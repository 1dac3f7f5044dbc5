//! Small model files for tests, of this crate and of others.

mod builder;
mod family;
mod tiny;

pub use builder::{GgufBuilder, write_value};
pub use family::{FamilyGolden, FamilyPrompt, family_goldens};
pub use tiny::{TINY_CHAT_TEMPLATE, TinyLlama, byte_characters, tiny_llama, tiny_llama_gguf};
