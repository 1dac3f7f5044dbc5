//! The CPU program: a model's graph as phases of fused kernels.
//!
//! - [`Cpu::build`] reads a file into one packed copy of its weights (`load`) and
//!   turns its graph into a list of fused operations (`lower`);
//! - [`CpuProgram`] runs them on rows of tokens (`run`), whose keys and values lie in
//!   pages (`kv`).
//!
//! # One path
//! A prompt, a decoding token and a batch take the same kernels: what a row gives is a
//! function of its own tokens and positions. How many rows are computed together, how
//! a step is cut, how many threads there are and how tasks are shared among them
//! changes speed alone.
//!
//! # Experts and encoders
//! Of a mixture of experts, each chosen expert's matrices are read once for all rows of a
//! step that take it (`run/mixture`). What sees ahead takes a text as a whole: its keys and
//! values lie in pages of the slice, which layers use one after another, and nothing of it
//! is kept.
//!
//! # Barriers
//! A decoding layer of a llama is five phases: queries, keys and values; attention;
//! the output, added to the residual; gate and up, multiplied; down, added. What lies
//! between them, norms and quantizing, rotary positions, pages, is done by the thread
//! that begins the phase if it is less than handing it out would cost.

#![forbid(unsafe_code)]

mod build;
mod file;
mod kv;
mod load;
mod lower;
mod measure;
mod program;
mod run;
mod slice;

use std::path::Path;
use std::sync::Arc;

use hearth_kernels::isa::Isa;
use hearth_kernels::pool::{Pool, default_threads};
use hearth_model::{Model, Shape};
use hearth_program::{BuildError, Built, Watch};

pub use kv::KvStorage;
pub use program::CpuProgram;

/// How to compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuConfig {
    /// Threads; by default the processors that this process may use.
    pub threads: Option<std::num::NonZeroUsize>,
}

/// The processors, as a device that programs share: their threads take turns.
#[derive(Clone, Debug)]
pub struct Cpu {
    pool: Arc<Pool>,
    isa: Isa,
}

/// Threads that the system did not give.
#[derive(Debug, thiserror::Error)]
#[error("{threads} threads cannot be started")]
pub struct OpenError {
    /// Threads wanted.
    pub threads: usize,
    /// What the operating system said.
    #[source]
    pub source: std::io::Error,
}

impl Cpu {
    /// Starts the threads.
    ///
    /// # Errors
    /// The system gives none.
    pub fn open(config: CpuConfig) -> Result<Self, OpenError> {
        let threads = config.threads.map_or_else(default_threads, std::num::NonZero::get);
        let pool = Pool::new(threads).map_err(|source| OpenError { threads, source })?;
        Ok(Self { pool: Arc::new(pool), isa: Isa::detect() })
    }

    /// The same threads, with another set of instructions: for tests.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        Self { isa, ..self }
    }

    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Builds the program of a model whose file is at `path`.
    ///
    /// # Errors
    /// The file cannot be read, memory is short, the model needs what this program does
    /// not compute, or nobody waits any more.
    pub fn build(
        &self,
        path: &Path,
        model: &Model,
        shape: &Shape,
        watch: &mut dyn Watch,
    ) -> Result<Built<CpuProgram>, BuildError> {
        let program = CpuProgram::read(self, path, model, shape, KvStorage::Kept(shape.kv_type), watch)?;
        let measured = measure::footprint(&program, shape, model.dims.vocab);
        Ok(Built { program, measured })
    }

    /// As [`Cpu::build`], with keys and values kept otherwise than `shape` says: for
    /// comparisons with other programs.
    ///
    /// # Errors
    /// As [`Cpu::build`].
    pub fn build_with(
        &self,
        path: &Path,
        model: &Model,
        shape: &Shape,
        storage: KvStorage,
        watch: &mut dyn Watch,
    ) -> Result<CpuProgram, BuildError> {
        CpuProgram::read(self, path, model, shape, storage, watch)
    }
}
