//! Systems other than Linux: what `sysctl` says.

use std::io;
use std::process::Command;

use super::MemoryReading;

/// All of the machine's memory counts as free: what others really use there is
/// read from the GPU, which shares it.
pub(super) fn memory() -> io::Result<MemoryReading> {
    let total = sysctl("hw.memsize")?.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(MemoryReading { total, used: 0 })
}

pub(super) fn processor() -> String {
    sysctl("machdep.cpu.brand_string").unwrap_or_else(|_| "CPU".to_owned())
}

/// How often the kernel has killed a process of ours for memory; not known here.
pub fn oom_kills() -> Option<u64> {
    None
}

fn sysctl(name: &str) -> io::Result<String> {
    let output = Command::new("sysctl").args(["-n", name]).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("sysctl {name}: {}", output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
