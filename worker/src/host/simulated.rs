//! Devices that are only declared.

use std::str::FromStr;
use std::time::SystemTime;

use hearth_engine::SimulatedConfig;
use hearth_model::footprint;
use serde::{Deserialize, Serialize};

use super::{Device, DeviceKind, EngineKind, HostError, MemoryReading, Probe, Reading};

/// One declared device. In JSON, as in `HEARTH_SIMULATED_DEVICES`:
/// `[{"uuid": "GPU-1", "product": "RTX 3090", "memoryBytes": 25769803776}]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SimulatedDevice {
    /// Unique among the declared.
    pub uuid: String,
    /// What it claims to be.
    #[serde(default = "default_product")]
    pub product: String,
    /// What it claims to have.
    pub memory_bytes: u64,
    /// What others claim to use of it.
    #[serde(default)]
    pub used_by_others_bytes: u64,
    /// Tokens a second of one sequence.
    #[serde(default)]
    pub decode_tokens_per_second: Option<f64>,
    /// Tokens a second that a prompt is read at.
    #[serde(default)]
    pub prefill_tokens_per_second: Option<f64>,
    /// Bytes a second that a file is loaded at.
    #[serde(default)]
    pub load_bytes_per_second: Option<f64>,
}

fn default_product() -> String {
    "Simulated".to_owned()
}

impl SimulatedDevice {
    /// What the engine is told.
    pub fn config(&self) -> SimulatedConfig {
        let default = SimulatedConfig::default();
        SimulatedConfig {
            kind: footprint::DeviceKind::Cuda,
            memory_bytes: self.memory_bytes.saturating_sub(self.used_by_others_bytes),
            decode_tokens_per_second: self
                .decode_tokens_per_second
                .unwrap_or(default.decode_tokens_per_second),
            prefill_tokens_per_second: self
                .prefill_tokens_per_second
                .unwrap_or(default.prefill_tokens_per_second),
            load_bytes_per_second: self.load_bytes_per_second.unwrap_or(default.load_bytes_per_second),
        }
    }
}

/// All declared devices.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SimulatedDevices(pub Vec<SimulatedDevice>);

/// Why a declaration is refused.
#[derive(Debug, thiserror::Error)]
pub enum SimulatedError {
    /// It is not the JSON that was expected.
    #[error("not a JSON array of devices: {0}")]
    Json(#[from] serde_json::Error),
    /// A uuid is empty or appears twice.
    #[error("uuid {0:?} is empty or declared twice")]
    Uuid(String),
}

impl FromStr for SimulatedDevices {
    type Err = SimulatedError;

    fn from_str(text: &str) -> Result<Self, SimulatedError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let devices: Vec<SimulatedDevice> = serde_json::from_str(text)?;
        for (n, device) in devices.iter().enumerate() {
            if device.uuid.is_empty() || devices[..n].iter().any(|d| d.uuid == device.uuid) {
                return Err(SimulatedError::Uuid(device.uuid.clone()));
            }
        }
        Ok(Self(devices))
    }
}

pub(super) struct SimulatedProbe {
    devices: Vec<Device>,
    readings: Vec<(String, MemoryReading)>,
}

impl SimulatedProbe {
    pub(super) fn new(declared: &SimulatedDevices) -> Result<Self, HostError> {
        if declared.0.is_empty() {
            return Err(HostError::NoSimulated);
        }
        let device = |d: &SimulatedDevice| Device {
            uuid: d.uuid.clone(),
            kind: DeviceKind::Cuda,
            product: d.product.clone(),
            engine: EngineKind::Simulated(d.clone()),
            shows_ours: false,
        };
        let reading = |d: &SimulatedDevice| {
            (d.uuid.clone(), MemoryReading { total: d.memory_bytes, used: d.used_by_others_bytes })
        };
        Ok(Self {
            devices: declared.0.iter().map(device).collect(),
            readings: declared.0.iter().map(reading).collect(),
        })
    }
}

impl Probe for SimulatedProbe {
    fn devices(&self) -> &[Device] {
        &self.devices
    }

    fn read(&mut self) -> Vec<Reading> {
        let at = SystemTime::now();
        self.readings
            .iter()
            .map(|(uuid, memory)| Reading { uuid: uuid.clone(), memory: Ok(*memory), at })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations() {
        let parse = |text: &str| text.parse::<SimulatedDevices>();
        let devices = parse(r#"[{"uuid": "a", "memoryBytes": 10, "usedByOthersBytes": 4}]"#).unwrap();
        assert_eq!(devices.0[0].config().memory_bytes, 6);
        assert_eq!(parse("").unwrap(), SimulatedDevices::default());
        assert!(parse("{}").is_err());
        assert!(parse(r#"[{"uuid": "a", "memory": 10}]"#).is_err());
        let twice = r#"[{"uuid": "a", "memoryBytes": 1}, {"uuid": "a", "memoryBytes": 1}]"#;
        assert_eq!(parse(twice).unwrap_err().to_string(), "uuid \"a\" is empty or declared twice");
    }
}
