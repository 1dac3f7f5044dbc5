//! What the kernel says of the process's memory.

use std::fs;

/// Bytes of memory that the process has now.
pub(crate) fn now() -> u64 {
    field("VmRSS:")
}

/// The most that it had since [`forget_most`].
pub(crate) fn most() -> u64 {
    field("VmHWM:")
}

/// Begins [`most`] anew.
pub(crate) fn forget_most() {
    fs::write("/proc/self/clear_refs", "5").expect("the kernel forgets the peak of a process");
}

fn field(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("the kernel tells of a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB")).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or_else(|| panic!("no {name} in {status}")) << 10
}
