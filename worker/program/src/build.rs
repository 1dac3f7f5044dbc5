//! Building a program from a file.

use std::path::{Path, PathBuf};

use hearth_model::{Footprint, Model, ReadError, gguf};
use thiserror::Error;

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

/// Describes a file, of which all bytes have to be there.
///
/// # Errors
/// [`BuildError::File`] or [`BuildError::Model`].
pub fn read(path: &Path) -> Result<Model, BuildError> {
    let refuse = |message: String| BuildError::Model { path: path.to_owned(), message };
    let unreadable = |source| BuildError::File { path: path.to_owned(), source };
    let header = gguf::read_file(path).map_err(|error| match error {
        ReadError::Io { source, .. } => unreadable(source),
        ReadError::Header { source, .. } => refuse(source.to_string()),
    })?;
    let model = Model::from_gguf(&header).map_err(|error| refuse(error.to_string()))?;
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes < model.min_file_bytes {
        let needed = model.min_file_bytes;
        return Err(refuse(format!("it has {bytes} bytes and its tensors end at {needed}: it is cut short")));
    }
    Ok(model)
}
