//! Faults of the node. Its processes are ours to see: it runs in namespaces of this machine.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

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
