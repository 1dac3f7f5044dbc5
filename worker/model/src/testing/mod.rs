//! Small model files, and sizes of real ones, for tests, of this crate and of others.

mod builder;
mod dims;
mod family;
mod tiny;

pub use builder::{GgufBuilder, write_value};
pub use dims::SMOLLM2;
pub use family::{FamilyGolden, FamilyPrompt, family_goldens};
pub use tiny::{TINY_CHAT_TEMPLATE, TinyLlama, byte_characters, tiny_llama, tiny_llama_gguf};
