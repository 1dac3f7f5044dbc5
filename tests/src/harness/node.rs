//! Faults of the node. Its processes are ours to see: it runs in namespaces of this machine.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1 as nodes;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use tokio::process::Command;

use super::{Ctx, SYSTEM_NAMESPACE};

/// The resource by which nodes offer their GPUs.
pub(crate) const GPU: &str = "nvidia.com/gpu";

/// The first node that offers GPUs, and how many.
pub(crate) async fn gpu_node(ctx: &Ctx) -> Result<(String, u32)> {
    let nodes: Api<nodes::Node> = Api::all(ctx.cluster.client.clone());
    for node in nodes.list(&ListParams::default()).await? {
        let count = node.status.and_then(|status| status.allocatable?.get(GPU)?.0.parse().ok());
        if let (Some(name), Some(count @ 1..)) = (node.metadata.name, count) {
            return Ok((name, count));
        }
    }
    anyhow::bail!("no node offers {GPU}")
}

/// Ends a node's worker Pod, and with it frees its GPUs and its store: nothing may be placed there.
pub(crate) async fn park(ctx: &Ctx, node: &str) -> Result<()> {
    let name = format!("hearth-worker-{node}");
    let pods = ctx.cluster.pods(SYSTEM_NAMESPACE);
    match pods.delete(&name, &DeleteParams::default()).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error.into()),
    }
    ctx.cluster.wait(pods, &name, Duration::from_secs(90), "gone", |pod| pod.is_none()).await?;
    Ok(())
}

/// The one node of the local cluster.
pub(crate) struct Node {
    scripts: String,
}

/// A process of a container, by its id on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// Ends it as the kernel's out-of-memory killer would.
    pub(crate) async fn kill(self) -> Result<()> {
        let status = Command::new("kill").args(["-KILL", &self.0.to_string()]).status().await?;
        if !status.success() {
            bail!("kill -KILL {} failed", self.0);
        }
        Ok(())
    }

    /// Bytes of memory that it has to itself or shares.
    pub(crate) fn resident_bytes(self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().context("VmRSS is no number")?;
        Ok(kib << 10)
    }

    /// How long it has kept processors busy since it began.
    pub(crate) fn processor_time(self) -> Result<Duration> {
        /// The kernel's clock ticks a second, for user space on every Linux.
        const TICKS: u64 = 100;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0))?;
        // The name, in parentheses, may hold spaces. What follows it begins with field 3.
        let (_, rest) = stat.rsplit_once(')').context("a stat line")?;
        let field = |n: usize| rest.split_whitespace().nth(n - 3).and_then(|text| text.parse::<u64>().ok());
        let ticks = field(14).zip(field(15)).map(|(user, system)| user + system).context("no times")?;
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    }
}

impl Node {
    pub(crate) fn new(scripts: String) -> Self {
        Self { scripts }
    }

    /// The processes of a program of this name with this subcommand, whatever options stand before it.
    pub(crate) fn processes(&self, program: &str, subcommand: &str) -> Result<Vec<Process>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let entry = entry?;
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process can end between the listing and the reading.
            let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
            let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let is_program = words
                .next()
                .is_some_and(|word| Path::new(&*word).file_name().is_some_and(|name| name == program));
            if is_program && words.any(|word| word == subcommand) {
                found.push(Process(pid));
            }
        }
        Ok(found)
    }

    /// The only such process.
    pub(crate) fn process(&self, program: &str, subcommand: &str) -> Result<Process> {
        match self.processes(program, subcommand)?[..] {
            [one] => Ok(one),
            ref several => bail!("{} processes run {program} {subcommand}, not one", several.len()),
        }
    }

    /// Runs a script of the local cluster.
    pub(crate) async fn script(&self, name: &str, args: &[&str]) -> Result<()> {
        let output = Command::new(Path::new(&self.scripts).join(name))
            .args(args)
            .output()
            .await
            .with_context(|| format!("starting {name}"))?;
        if !output.status.success() {
            bail!("{name} {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}
