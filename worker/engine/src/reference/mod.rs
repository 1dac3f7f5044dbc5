//! The reference: plain tensor operations.

use hearth_model::Model;

use crate::api::{Compute, LoadError, LoadSpec, StartError};
use crate::loader::{Built, Runtime, Watch};
use crate::program::{Program, Row, StepError};
use crate::text::TextModel;

pub(crate) struct Reference;

impl Reference {
    pub(crate) fn open(_compute: Compute) -> Result<Self, StartError> {
        Ok(Self)
    }
}

/// A model in plain tensors.
pub struct ReferenceProgram;

impl Program for ReferenceProgram {
    type Cache = ();

    fn cache(&self) {}

    fn step(&mut self, _: &mut [Row<'_, ()>]) -> Result<Vec<Option<Vec<f32>>>, StepError> {
        Err(StepError { message: "not there yet".into() })
    }
}

impl Runtime for Reference {
    type Program = ReferenceProgram;

    fn load(
        &self,
        _: &LoadSpec,
        _: &Model,
        _: &TextModel,
        _: &mut dyn Watch,
    ) -> Result<Built<ReferenceProgram>, LoadError> {
        Err(LoadError::Internal { message: "not there yet".into() })
    }
}
