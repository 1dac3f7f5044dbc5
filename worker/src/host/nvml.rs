//! NVIDIA GPUs, through NVIDIA's management library, loaded at run time: the
//! same binary runs where there is none.

use std::ffi::OsStr;
use std::time::SystemTime;

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::{
    ComputeMode, Device, DeviceKind, EngineKind, HostConfig, HostError, MemoryReading, Probe, Reading,
};

/// The name that the driver's package and the container toolkit install; the
/// bare `.so` comes only with development packages.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// What `NVIDIA_VISIBLE_DEVICES` may say.
#[derive(Debug, PartialEq, Eq)]
enum Visible<'a> {
    /// Nothing of which GPUs are ours: what NVML shows is. So it is without a
    /// container, and where devices are injected by CDI, which leaves `void`.
    Shown,
    None,
    /// Uuids or indices.
    Listed(Vec<&'a str>),
}

impl<'a> Visible<'a> {
    fn parse(text: Option<&'a str>) -> Self {
        match text.map(str::trim) {
            None | Some("" | "all" | "void") => Self::Shown,
            Some("none") => Self::None,
            Some(list) => Self::Listed(list.split(',').map(str::trim).filter(|s| !s.is_empty()).collect()),
        }
    }

    /// Those of the GPUs (uuid and product, by index) that are ours.
    fn select(&self, all: &'a [(String, String)]) -> Vec<&'a (String, String)> {
        match self {
            Self::Shown => all.iter().collect(),
            Self::None => Vec::new(),
            // A container that was given GPUs by index sees only those, counted
            // anew: then the indices in the list are not NVML's.
            Self::Listed(list)
                if list.len() == all.len() && list.iter().all(|s| s.parse::<u32>().is_ok()) =>
            {
                all.iter().collect()
            }
            Self::Listed(list) => all
                .iter()
                .enumerate()
                .filter(|(index, (uuid, _))| list.iter().any(|s| s == uuid || s.parse() == Ok(*index)))
                .map(|(_, gpu)| gpu)
                .collect(),
        }
    }
}

pub(super) struct NvmlProbe {
    nvml: Nvml,
    devices: Vec<Device>,
}

impl NvmlProbe {
    /// `None` where there is no NVIDIA driver, or none of its GPUs is ours.
    pub(super) fn open(config: &HostConfig) -> Result<Option<Self>, HostError> {
        let visible = Visible::parse(config.visible.as_deref());
        if visible == Visible::None {
            return Ok(None);
        }
        let library = config.nvml.as_deref().map_or(OsStr::new(LIBRARY), |p| p.as_os_str());
        let nvml = match (Nvml::builder().lib_path(library).init(), &config.nvml) {
            (Ok(nvml), _) => nvml,
            (Err(source @ NvmlError::LibloadingError(_)), Some(path)) => {
                return Err(HostError::Library { path: path.clone(), source });
            }
            (Err(NvmlError::LibloadingError(_) | NvmlError::DriverNotLoaded), None) => {
                return match visible {
                    Visible::Listed(_) => Err(HostError::NotThere {
                        visible: config.visible.clone().unwrap_or_default(),
                        found: "no NVIDIA driver".to_owned(),
                    }),
                    Visible::Shown | Visible::None => Ok(None),
                };
            }
            (Err(e), _) => return Err(HostError::Nvml(e)),
        };
        let all = list(&nvml).map_err(HostError::Nvml)?;
        let ours = visible.select(&all);
        if ours.is_empty() {
            return match visible {
                Visible::Listed(_) => Err(HostError::NotThere {
                    visible: config.visible.clone().unwrap_or_default(),
                    found: all.iter().map(|(uuid, _)| uuid.as_str()).collect::<Vec<_>>().join(", "),
                }),
                Visible::Shown | Visible::None => Ok(None),
            };
        }
        let devices = ours.into_iter().map(|(uuid, product)| device(uuid, product, config.compute)).collect();
        Ok(Some(Self { nvml, devices }))
    }
}

fn list(nvml: &Nvml) -> Result<Vec<(String, String)>, NvmlError> {
    (0..nvml.device_count()?)
        .map(|index| {
            let device = nvml.device_by_index(index)?;
            Ok((device.uuid()?, device.name()?))
        })
        .collect()
}

fn device(uuid: &str, product: &str, compute: ComputeMode) -> Device {
    let engine = match compute {
        ComputeMode::Cpu => EngineKind::Cpu,
        ComputeMode::Auto | ComputeMode::Simulated if cfg!(feature = "cuda") => EngineKind::Cuda,
        ComputeMode::Auto | ComputeMode::Simulated => EngineKind::Unavailable(
            "this build cannot compute on CUDA: build the worker with the feature `cuda`, or compute on the \
             processor (worker.compute=Cpu in the chart's values)"
                .to_owned(),
        ),
    };
    let shows_ours = matches!(engine, EngineKind::Cuda);
    Device { uuid: uuid.to_owned(), kind: DeviceKind::Cuda, product: product.to_owned(), engine, shows_ours }
}

impl Probe for NvmlProbe {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Reading> {
        let at = SystemTime::now();
        let read = |uuid: &str| {
            let memory = self.nvml.device_by_uuid(uuid)?.memory_info()?;
            // `total - free`, not `used`: the driver's own reserve is in
            // neither `used` nor `free`.
            Ok(MemoryReading { total: memory.total, used: memory.total.saturating_sub(memory.free) })
        };
        self.devices
            .iter()
            .map(|d| Reading {
                uuid: d.uuid.clone(),
                memory: read(&d.uuid).map_err(|e: NvmlError| format!("NVML: {e}")),
                at,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_devices() {
        for shown in [None, Some("all"), Some(""), Some("void")] {
            assert_eq!(Visible::parse(shown), Visible::Shown);
        }
        assert_eq!(Visible::parse(Some("none")), Visible::None);
        let gpu = |uuid: &str| (uuid.to_owned(), String::new());
        let all = [gpu("GPU-a"), gpu("GPU-b"), gpu("GPU-c")];
        let ours = |list: &'static str| {
            let selected = Visible::parse(Some(list)).select(&all).into_iter();
            selected.map(|(uuid, _)| uuid.clone()).collect::<Vec<_>>()
        };
        assert_eq!(ours("GPU-a, 1"), ["GPU-a", "GPU-b"]);
        assert_eq!(ours("GPU-x"), [""; 0]);
        // Three by index, of which NVML shows just three.
        assert_eq!(ours("4,5,6"), ["GPU-a", "GPU-b", "GPU-c"]);
    }

    #[test]
    fn no_driver_is_no_gpu_unless_some_were_promised() {
        let config = |visible: Option<&str>| HostConfig {
            compute: ComputeMode::Auto,
            simulated: super::super::SimulatedDevices::default(),
            nvml: None,
            visible: visible.map(str::to_owned),
        };
        if Nvml::builder().lib_path(OsStr::new(LIBRARY)).init().is_ok() {
            return; // A machine with a driver says other things.
        }
        assert!(matches!(NvmlProbe::open(&config(None)), Ok(None)));
        let promised = NvmlProbe::open(&config(Some("GPU-a")));
        assert!(matches!(promised, Err(HostError::NotThere { .. })));
        let named = HostConfig { nvml: Some("/nowhere/nvml.so".into()), ..config(None) };
        assert!(matches!(NvmlProbe::open(&named), Err(HostError::Library { .. })));
    }
}
