//! What the process takes of the machine's memory.

use hearth_model::Footprint;
use serde::Serialize;

/// Bytes. The kernel's numbers are absent where it does not tell them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Memory {
    /// The most that was ever resident.
    pub(super) peak_resident_bytes: Option<u64>,
    /// What is resident now.
    pub(super) resident_bytes: Option<u64>,
    /// What the engine counts of the model, at full context.
    pub(super) model: Footprint,
}

impl Memory {
    /// As it is now.
    pub(super) fn now(model: Footprint) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            peak_resident_bytes: bytes(&status, "VmHWM:"),
            resident_bytes: bytes(&status, "VmRSS:"),
            model,
        }
    }
}

/// A line of `/proc/self/status`, which counts in units of 1,024 bytes.
fn bytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{Footprint, Memory, bytes};

    #[test]
    fn a_line_of_status_is_read() {
        let status = "Name:\tworker\nVmHWM:\t  443212 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(bytes(status, "VmHWM:"), Some(443_212 * 1024));
        assert_eq!(bytes(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(bytes(status, "VmSwap:"), None);
        assert_eq!(bytes("VmHWM: many kB", "VmHWM:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_peak_is_no_less_than_what_is_resident() {
        let memory = Memory::now(Footprint::default());
        let (peak, now) = (memory.peak_resident_bytes.unwrap(), memory.resident_bytes.unwrap());
        assert!(peak >= now && now > 1 << 20, "{memory:?}");
    }
}
