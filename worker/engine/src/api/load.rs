//! Loading a model: what is asked and what is answered.

use std::path::PathBuf;

use hearth_model::{Footprint, KvType, Shape};
use hearth_program::BuildError;
use hearth_text::template::TemplateError;
use hearth_text::tokenizer::TokenizerError;
use thiserror::Error;

/// A model to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSpec {
    /// What requests name it by; unique in the engine.
    pub id: String,
    /// A readable GGUF file.
    pub path: PathBuf,
    /// Tokens a sequence may hold, prompt and output together.
    pub context_tokens: u32,
    /// Sequences that run at the same time, each with its whole context reserved.
    pub sequences: u32,
    /// How keys and values are stored.
    pub kv_type: KvType,
}

impl LoadSpec {
    /// What the replica's memory depends on.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let Self { id: _, path: _, context_tokens, sequences, kv_type } = *self;
        Shape { context_tokens, sequences, kv_type }
    }
}

/// What a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Weights go to the device; `done` and `total` are bytes of the file.
    Loading,
    /// A first generation runs; `done` and `total` are steps of it.
    Warming,
}

/// What happens to a load. Exactly one [`Loaded`](LoadEvent::Loaded) or
/// [`Failed`](LoadEvent::Failed) ends it.
#[derive(Debug)]
pub enum LoadEvent {
    /// It goes on.
    Progress {
        /// What it is doing.
        phase: Phase,
        /// How much of the phase is done, in the phase's unit.
        done: u64,
        /// How much there is to do, in the phase's unit.
        total: u64,
    },
    /// The model answers requests. The bytes are counted from what was
    /// allocated, not predicted.
    Loaded(Footprint),
    /// Nothing of the model is left on the device.
    Failed(LoadError),
}

/// Why a model was not loaded.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("`{}` cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a model that can be run.
    #[error("`{}` is not a model that can be run: {message}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        message: String,
    },
    /// The tokenizer in the file cannot be built.
    #[error("the tokenizer in the file cannot be built")]
    Tokenizer(#[from] TokenizerError),
    /// The chat template in the file cannot be read.
    #[error("the chat template in the file cannot be read")]
    Template(#[from] TemplateError),
    /// A field of [`LoadSpec`] is out of range.
    #[error("`{field}` is {value}: {message}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        message: String,
    },
    /// It does not fit into what the device has left.
    #[error(
        "the model needs {needed} bytes and the device has {free} left: unload a model, or ask for a shorter context or fewer sequences"
    )]
    OutOfMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        free: u64,
    },
    /// The id is taken.
    #[error("`{id}` is loaded already: unload it first")]
    AlreadyLoaded {
        /// The id.
        id: String,
    },
    /// The caller let go of the load, or unloaded the model while it loaded.
    #[error("the load was cancelled")]
    Cancelled,
    /// A fault of the engine.
    #[error("the engine failed: {message}")]
    Internal {
        /// What is known of it.
        message: String,
    },
}

impl From<BuildError> for LoadError {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::File { path, source } => Self::File { path, source },
            BuildError::Model { path, message } => Self::Model { path, message },
            BuildError::OutOfMemory { needed, free } => Self::OutOfMemory { needed, free },
            BuildError::Cancelled => Self::Cancelled,
            BuildError::Internal { message } => Self::Internal { message },
        }
    }
}

impl From<hearth_text::BuildError> for LoadError {
    fn from(error: hearth_text::BuildError) -> Self {
        match error {
            hearth_text::BuildError::Tokenizer(error) => Self::Tokenizer(error),
            hearth_text::BuildError::Template(error) => Self::Template(error),
        }
    }
}

/// No model has this id.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no model `{id}` is loaded")]
pub struct UnknownModel {
    /// The id that was named.
    pub id: String,
}

/// A load's callback that cannot be left without a terminal event: dropping it
/// early sends one.
pub(crate) struct Listener {
    on: Option<Box<dyn FnMut(LoadEvent) + Send>>,
}

impl Listener {
    pub(crate) fn new(on: Box<dyn FnMut(LoadEvent) + Send>) -> Self {
        Self { on: Some(on) }
    }

    pub(crate) fn progress(&mut self, phase: Phase, done: u64, total: u64) {
        if let Some(on) = self.on.as_mut() {
            on(LoadEvent::Progress { phase, done, total });
        }
    }

    pub(crate) fn loaded(mut self, measured: Footprint) {
        self.end(LoadEvent::Loaded(measured));
    }

    pub(crate) fn fail(mut self, error: LoadError) {
        self.end(LoadEvent::Failed(error));
    }

    fn end(&mut self, event: LoadEvent) {
        if let Some(mut on) = self.on.take() {
            on(event);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.end(LoadEvent::Failed(LoadError::Internal {
            message: "the engine let go of the load before it was done".into(),
        }));
    }
}
