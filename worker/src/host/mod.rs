//! The machine: its devices, and what their memory holds.

mod cpu;
#[cfg(target_os = "linux")]
mod linux;
mod nvml;
#[cfg(not(target_os = "linux"))]
mod other;
mod simulated;

use std::path::PathBuf;
use std::time::SystemTime;

use hearth_model::WeightStorage;

#[cfg(target_os = "linux")]
use linux as system;
#[cfg(not(target_os = "linux"))]
use other as system;

pub use simulated::{SimulatedDevice, SimulatedDevices};
pub use system::oom_kills;

/// What engine processes compute on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ComputeMode {
    /// The devices that are there.
    #[value(name = "Auto", alias = "auto")]
    Auto,
    /// The CPU, whatever devices are there: they are told and counted, but do
    /// not compute. For machines without the device, and for tests.
    #[value(name = "Cpu", alias = "cpu")]
    Cpu,
    /// Nothing: declared devices, made-up text.
    #[value(name = "Simulated", alias = "simulated")]
    Simulated,
}

/// What is asked of the host.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// What engines compute on.
    pub compute: ComputeMode,
    /// The devices of [`ComputeMode::Simulated`].
    pub simulated: SimulatedDevices,
    /// NVIDIA's management library; found by its name if absent.
    pub nvml: Option<PathBuf>,
    /// `NVIDIA_VISIBLE_DEVICES`: which of the GPUs are ours.
    pub visible: Option<String>,
}

/// A kind of device, as the controller knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// An NVIDIA GPU.
    Cuda,
    /// Apple's GPU.
    Metal,
    /// A GPU through Vulkan.
    Vulkan,
    /// The processor.
    Cpu,
}

/// A device that models can be put on.
#[derive(Clone, Debug)]
pub struct Device {
    /// Unique on this machine, and the same after a restart.
    pub uuid: String,
    /// What it is.
    pub kind: DeviceKind,
    /// What its maker calls it.
    pub product: String,
    /// How its engine process computes.
    pub engine: EngineKind,
    /// Whether a reading shows what our engines take.
    pub shows_ours: bool,
}

/// How an engine process computes for a device.
#[derive(Clone, Debug)]
pub enum EngineKind {
    /// On the CPU.
    Cpu,
    /// On the GPU with this uuid.
    Cuda,
    /// As declared.
    Simulated(SimulatedDevice),
    /// Not at all.
    Unavailable(String),
}

impl EngineKind {
    /// How the engine keeps weights.
    pub fn weights(&self) -> WeightStorage {
        match self {
            Self::Cpu | Self::Simulated(_) => WeightStorage::Packed,
            Self::Cuda | Self::Unavailable(_) => WeightStorage::F32,
        }
    }
}

/// One look at a device's memory, in bytes.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Which device.
    pub uuid: String,
    /// What was found, or why nothing was.
    pub memory: Result<MemoryReading, String>,
    /// When.
    pub at: SystemTime,
}

/// What a device says of its memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryReading {
    /// What there is, or what we may use of it.
    pub total: u64,
    /// In use, by us and by others.
    pub used: u64,
}

/// Reads the devices' memory, again and again. Calls may block for
/// milliseconds.
pub trait Probe: Send {
    /// The devices, always the same.
    fn devices(&self) -> &[Device];
    /// A reading for each.
    fn read(&mut self) -> Vec<Reading>;
}

/// Why the devices could not be found.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// `NVIDIA_VISIBLE_DEVICES` gives us GPUs, and NVML knows none of them.
    #[error("NVIDIA_VISIBLE_DEVICES is {visible:?}, but NVML tells of no such GPU (it has: {found})")]
    NotThere {
        /// The variable.
        visible: String,
        /// What NVML has.
        found: String,
    },
    /// NVML is there and does not work.
    #[error("NVML does not answer")]
    Nvml(#[source] nvml_wrapper::error::NvmlError),
    /// The file of the named library is not there.
    #[error("cannot load NVML from {path}", path = path.display())]
    Library {
        /// As it was given.
        path: PathBuf,
        /// What the loader said.
        source: nvml_wrapper::error::NvmlError,
    },
    /// The machine's memory cannot be read.
    #[error("cannot read how much memory this machine has")]
    Memory(#[source] std::io::Error),
    /// Simulated, but nothing is declared.
    #[error("compute is Simulated, but no devices are declared; set HEARTH_SIMULATED_DEVICES")]
    NoSimulated,
}

/// Finds the devices: those declared if simulated, else NVIDIA GPUs, else the
/// processor.
///
/// # Errors
/// When what should be there cannot be read: a GPU machine that quietly served
/// from its processor would be worse than one that says so.
pub fn discover(config: &HostConfig) -> Result<Box<dyn Probe>, HostError> {
    if config.compute == ComputeMode::Simulated {
        return Ok(Box::new(simulated::SimulatedProbe::new(&config.simulated)?));
    }
    if let Some(gpus) = nvml::NvmlProbe::open(config)? {
        return Ok(Box::new(gpus));
    }
    Ok(Box::new(cpu::CpuProbe::new()?))
}
