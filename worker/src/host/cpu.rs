//! The processor, as a device.

use std::time::SystemTime;

use super::{Device, DeviceKind, EngineKind, HostError, Probe, Reading, system};

/// The only processor device of a worker.
const UUID: &str = "cpu";

pub(super) struct CpuProbe {
    device: [Device; 1],
}

impl CpuProbe {
    pub(super) fn new() -> Result<Self, HostError> {
        // So that a machine whose memory cannot be read says so at the start.
        system::memory().map_err(HostError::Memory)?;
        Ok(Self {
            device: [Device {
                uuid: UUID.to_owned(),
                kind: DeviceKind::Cpu,
                product: system::processor(),
                engine: EngineKind::Cpu,
                shows_ours: true,
            }],
        })
    }
}

impl Probe for CpuProbe {
    fn devices(&self) -> &[Device] {
        &self.device
    }

    fn read(&mut self) -> Vec<Reading> {
        let memory = system::memory().map_err(|e| e.to_string());
        vec![Reading { uuid: UUID.to_owned(), memory, at: SystemTime::now() }]
    }
}
