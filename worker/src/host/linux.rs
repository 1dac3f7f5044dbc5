//! Linux: `/proc` and the memory cgroup, version 1 or 2.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::MemoryReading;

/// What this process and its children may use, and what is in use of it.
///
/// The tightest of the machine and of every memory cgroup above us. Page cache
/// counts as free: the kernel gives it back when asked.
pub(super) fn memory() -> io::Result<MemoryReading> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let machine = parse_meminfo(&meminfo)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/meminfo has no MemTotal"))?;
    Ok(tightest(machine, groups().iter().filter_map(Group::read)))
}

/// What the processor is called.
pub(super) fn processor() -> String {
    fs::read_to_string("/proc/cpuinfo").ok().as_deref().and_then(parse_cpuinfo).unwrap_or("CPU").to_owned()
}

/// How often the kernel has killed a process of our cgroup for memory.
pub fn oom_kills() -> Option<u64> {
    groups().iter().find_map(Group::oom_kills)
}

fn tightest(machine: MemoryReading, groups: impl Iterator<Item = MemoryReading>) -> MemoryReading {
    let mut total = machine.total;
    let mut available = machine.total - machine.used;
    for group in groups {
        total = total.min(group.total);
        available = available.min(group.total.saturating_sub(group.used));
    }
    MemoryReading { total, used: total.saturating_sub(available) }
}

fn parse_meminfo(text: &str) -> Option<MemoryReading> {
    let kib = |key: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    let total = kib("MemTotal")?;
    let available = kib("MemAvailable").or_else(|| kib("MemFree"))?;
    Some(MemoryReading { total, used: total.saturating_sub(available) })
}

fn parse_cpuinfo(text: &str) -> Option<&str> {
    let line = text.lines().find_map(|l| l.strip_prefix("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim())
}

/// One memory cgroup.
enum Group {
    V1(PathBuf),
    V2(PathBuf),
}

/// Ours and all above it, innermost first.
fn groups() -> Vec<Group> {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let (version, path) = parse_cgroup(&text);
    let (root, make): (&str, fn(PathBuf) -> Group) = match version {
        Version::V1 => ("/sys/fs/cgroup/memory", Group::V1),
        Version::V2 => ("/sys/fs/cgroup", Group::V2),
    };
    let root = Path::new(root);
    // In a container the path may be the host's, which is not mounted there:
    // groups that cannot be read are passed over, and the root is then ours.
    root.join(path.trim_start_matches('/'))
        .ancestors()
        .take_while(|p| p.starts_with(root))
        .map(|p| make(p.to_owned()))
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// Where we are in the memory hierarchy. With both versions mounted, memory is
/// where a `memory` line says.
fn parse_cgroup(text: &str) -> (Version, &str) {
    let mut unified = None;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        if let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) {
            if controllers.split(',').any(|c| c == "memory") {
                return (Version::V1, path);
            }
            if controllers.is_empty() {
                unified = Some(path);
            }
        }
    }
    (Version::V2, unified.unwrap_or("/"))
}

impl Group {
    /// `None` if it has no limit, or cannot be read.
    fn read(&self) -> Option<MemoryReading> {
        let (dir, limit, usage, caches) = match self {
            Self::V1(dir) => (
                dir,
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                ["total_active_file", "total_inactive_file"],
            ),
            Self::V2(dir) => (dir, "memory.max", "memory.current", ["active_file", "inactive_file"]),
        };
        // Version 2 says "max", version 1 a number over any machine's memory,
        // which the machine's own total then undercuts.
        let total: u64 = fs::read_to_string(dir.join(limit)).ok()?.trim().parse().ok()?;
        let usage: u64 = fs::read_to_string(dir.join(usage)).ok()?.trim().parse().ok()?;
        let stat = fs::read_to_string(dir.join("memory.stat")).ok()?;
        let cache = caches.iter().filter_map(|key| parse_key(&stat, key)).sum();
        Some(MemoryReading { total, used: usage.saturating_sub(cache) })
    }

    fn oom_kills(&self) -> Option<u64> {
        let file = match self {
            Self::V1(dir) => dir.join("memory.oom_control"),
            Self::V2(dir) => dir.join("memory.events"),
        };
        parse_key(&fs::read_to_string(file).ok()?, "oom_kill")
    }
}

fn parse_key(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn meminfo() {
        let text = "MemTotal:       16384 kB\nMemFree:  1 kB\nMemAvailable:    4096 kB\n";
        assert_eq!(parse_meminfo(text), Some(MemoryReading { total: 16384 * 1024, used: 12288 * 1024 }));
        assert_eq!(parse_meminfo("MemTotal: lots\n"), None);
    }

    #[test]
    fn the_tightest_limit_counts() {
        let machine = MemoryReading { total: 16 * GIB, used: 15 * GIB };
        let group = MemoryReading { total: 8 * GIB, used: GIB };
        // The group would allow 7 GiB, but the machine has only one.
        assert_eq!(tightest(machine, [group].into_iter()), MemoryReading { total: 8 * GIB, used: 7 * GIB });
        assert_eq!(tightest(machine, std::iter::empty()), machine);
    }

    #[test]
    fn both_cgroup_versions() {
        assert_eq!(parse_cgroup("0::/kubepods/pod1\n"), (Version::V2, "/kubepods/pod1"));
        let v1 = "12:cpu,cpuacct:/a\n4:memory:/docker/b\n0::/c\n";
        assert_eq!(parse_cgroup(v1), (Version::V1, "/docker/b"));
        assert_eq!(parse_cgroup(""), (Version::V2, "/"));
    }

    #[test]
    fn keys() {
        let events = "oom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(parse_key(events, "oom_kill"), Some(2));
        assert_eq!(parse_key("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", "oom_kill"), Some(1));
    }

    #[test]
    fn processor_name() {
        assert_eq!(parse_cpuinfo("processor\t: 0\nmodel name\t: A CPU @ 2GHz\n"), Some("A CPU @ 2GHz"));
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = memory().unwrap();
        assert!(memory.total > 0 && memory.used <= memory.total, "{memory:?}");
    }
}
