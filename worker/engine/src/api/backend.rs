//! Which engine runs, and on what.

use hearth_cpu::CpuConfig;
use hearth_model::footprint::DeviceKind;
use hearth_reference::{Compute, OpenError};
use thiserror::Error;

/// The implementation behind an [`Engine`](crate::Engine).
#[derive(Clone, Debug, PartialEq)]
pub enum Backend {
    /// The processors, with packed weights and fused kernels.
    Cpu(CpuConfig),
    /// Plain tensor operations in `f32`: slow, and the oracle for every other one.
    Reference(Compute),
    /// No arithmetic at all: declared memory and speed, made-up text.
    Simulated(SimulatedConfig),
}

/// What a simulated device is like.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatedConfig {
    /// What it passes for: decides the overhead of a model.
    pub kind: DeviceKind,
    /// Bytes of memory that loaded models share.
    pub memory_bytes: u64,
    /// Tokens a second that one sequence decodes; also with others beside it.
    pub decode_tokens_per_second: f64,
    /// Tokens a second that a prompt is read at.
    pub prefill_tokens_per_second: f64,
    /// Bytes a second that a model file loads at.
    pub load_bytes_per_second: f64,
}

impl Default for SimulatedConfig {
    /// A device with 24 GiB, fast enough that a test does not wait for it.
    fn default() -> Self {
        Self {
            kind: DeviceKind::Cpu,
            memory_bytes: 24 << 30,
            decode_tokens_per_second: 2_000.0,
            prefill_tokens_per_second: 200_000.0,
            load_bytes_per_second: 20e9,
        }
    }
}

/// Why an engine did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The device that computes cannot be opened.
    #[error(transparent)]
    Device(#[from] OpenError),
    /// The processors' threads did not start.
    #[error(transparent)]
    Cpu(#[from] hearth_cpu::OpenError),
    /// A number of [`SimulatedConfig`] is not a positive, finite number.
    #[error("simulated device: `{field}` is {value}; give a number over 0")]
    Simulated {
        /// The field's name.
        field: &'static str,
        /// What was given.
        value: f64,
    },
    /// The operating system gave no thread.
    #[error("the engine's thread did not start")]
    Thread(#[source] std::io::Error),
}
