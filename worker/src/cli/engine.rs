//! `hearth-worker engine`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use hearth_engine::{Backend, Compute, CpuConfig, SimulatedConfig};

use crate::child::{self, ChildConfig, ChildError, EXIT_ENGINE_FAULT, EXIT_NOT_STARTED, Ended, FAILED};
use crate::host::SimulatedDevice;

/// What to compute on.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum EngineCompute {
    /// The processor: packed weights, 8-bit activations.
    Cpu,
    /// The processor, slowly: 32-bit floats throughout. What the others are judged by.
    Reference,
    /// The first CUDA device that is visible.
    Cuda,
    /// The first Vulkan device.
    Vulkan,
    /// Apple's GPU.
    Metal,
    /// Nothing: made-up text.
    Simulated,
}

impl EngineCompute {
    pub(super) fn backend(self, simulated: Option<SimulatedConfig>) -> Backend {
        match self {
            Self::Cpu => Backend::Cpu(CpuConfig::default()),
            Self::Reference => Backend::Reference(Compute::Cpu),
            Self::Cuda => Backend::Reference(Compute::Cuda(0)),
            Self::Vulkan => Backend::Reference(Compute::Vulkan(0)),
            Self::Metal => Backend::Reference(Compute::Metal),
            Self::Simulated => Backend::Simulated(simulated.unwrap_or_default()),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct EngineArgs {
    /// The Unix socket to listen on.
    #[arg(long, value_name = "FILE")]
    socket: PathBuf,
    /// What to compute on.
    #[arg(long, value_enum)]
    compute: EngineCompute,
    /// What a simulated device is like.
    #[arg(long, value_name = "JSON", value_parser = declared)]
    simulated_device: Option<SimulatedDevice>,
}

fn declared(text: &str) -> Result<SimulatedDevice, serde_json::Error> {
    serde_json::from_str(text)
}

impl EngineArgs {
    pub(super) fn run(self) -> ExitCode {
        let backend = self.compute.backend(self.simulated_device.map(|d| d.config()));
        // The engine has threads of its own; these only carry messages.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(e) => {
                println!("{FAILED}the runtime did not start: {e}");
                return EXIT_NOT_STARTED.into();
            }
        };
        let ended = runtime.block_on(child::run(ChildConfig { socket: self.socket, backend }));
        match ended {
            Ok(Ended::Asked) => ExitCode::SUCCESS,
            Ok(Ended::EngineFault) => {
                tracing::error!("the engine's thread failed");
                EXIT_ENGINE_FAULT.into()
            }
            Err(error @ (ChildError::Engine(_) | ChildError::Socket { .. })) => {
                println!("{FAILED}{}", crate::error::chain(&error));
                EXIT_NOT_STARTED.into()
            }
            Err(error @ ChildError::Serve(_)) => {
                tracing::error!(error = crate::error::chain(&error), "the engine process ends");
                ExitCode::FAILURE
            }
        }
    }
}
