//! The llama architecture.
use super::{ArchError, Model};
use crate::Header;

pub(super) fn from_gguf(_header: &Header) -> Result<Model, ArchError> {
    Err(ArchError::Config(String::new()))
}
