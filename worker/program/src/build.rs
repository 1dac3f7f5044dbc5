//! Building a program from a file.

mod read;

use std::path::PathBuf;

use hearth_model::Footprint;
use thiserror::Error;

pub use read::{files, read};

/// What was made of a model.
#[derive(Debug)]
pub struct Built<P> {
    /// Ready to take tokens.
    pub program: P,
    /// Bytes that it takes, counted from what was allocated.
    pub measured: Footprint,
}

/// Who waits for a program.
pub trait Watch {
    /// Tells that `done` of the file's `total` bytes are on the device. Called at
    /// least every few hundred milliseconds.
    ///
    /// # Errors
    /// [`BuildError::Cancelled`] when nobody waits any more.
    fn progress(&mut self, done: u64, total: u64) -> Result<(), BuildError>;
}

/// Nobody waits, and nobody ends the build.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _: u64, _: u64) -> Result<(), BuildError> {
        Ok(())
    }
}

/// Why a program was not built. Nothing of it is left on the device.
#[derive(Debug, Error)]
pub enum BuildError {
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
    /// It does not fit into what the device has left.
    #[error("the model needs {needed} bytes and the device has {free} left")]
    OutOfMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        free: u64,
    },
    /// Nobody waits for it any more.
    #[error("the build was cancelled")]
    Cancelled,
    /// A fault of the program.
    #[error("the engine failed: {message}")]
    Internal {
        /// What is known of it.
        message: String,
    },
}
