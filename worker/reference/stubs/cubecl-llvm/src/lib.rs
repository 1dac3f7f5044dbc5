//! Stands in for cubecl-llvm: the names that `cubecl-cuda` needs, and no LLVM.
//!
//! `cubecl-cuda` compiles its kernels with NVRTC where its feature `cpp` is on,
//! and never comes here. Where the feature is off, every kernel is refused with
//! the remedy.

#![warn(missing_docs)]

pub mod nvptx;
pub mod shared;

use std::convert::Infallible;
use std::ffi::c_char;
use std::fmt;

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::compiler::{CompilationError, Compiler};
use cubecl_runtime::kernel::BufferIOAttr;

use nvptx::ptx_version::PtxVersion;

/// What kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// An NVIDIA GPU.
    Nvptx,
}

/// Refuses every kernel.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What a kernel would be compiled for.
    pub target: LlvmTarget,
}

/// What a kernel would be compiled with.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// An AMD GPU's architecture. There is none: the target is left out.
    pub arch: Option<Infallible>,
    /// An NVIDIA GPU's architecture.
    pub sm_arch: Option<SmArch>,
    /// The newest PTX that the driver loads.
    pub ptx_version: Option<PtxVersion>,
    /// Whether launch parameters are passed as grid constants.
    pub grid_constants: bool,
}

/// What a kernel would become. Nothing makes one.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// PTX.
    NvptxCode(NvptxModule),
}

/// A kernel as PTX. Nothing makes one.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// The text, ending with a zero.
    pub ptx: Vec<c_char>,
    /// Name of the kernel in it.
    pub entrypoint: String,
    /// The text that it was made from.
    pub ir: String,
    /// Bytes of dynamic shared memory that a launch reserves.
    pub shared_memory_size: usize,
    /// What is done with each buffer.
    pub io: Vec<BufferIOAttr>,
}

impl fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NvptxCode(module) => f.write_str(&module.ir),
        }
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(
        &mut self,
        _: KernelDefinition,
        _: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "built without LLVM: turn on the feature `cpp` of cubecl-cuda".into(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}
