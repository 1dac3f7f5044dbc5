//! Helm, as a person runs it.

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use super::SYSTEM_NAMESPACE;

const RELEASE: &str = "hearth";

/// The release under test.
pub(crate) struct Helm {
    chart: String,
    values: String,
    set: String,
}

impl Helm {
    pub(crate) fn new(chart: String, values: String, set: String) -> Self {
        Self { chart, values, set }
    }

    /// `helm upgrade --install --wait`, with further `--set` values.
    pub(crate) async fn install(&self, set: &[&str]) -> Result<()> {
        let mut args = vec!["upgrade", "--install", RELEASE, &self.chart, "--create-namespace"];
        args.extend(["--values", &self.values, "--wait", "--timeout", "120s"]);
        if !self.set.is_empty() {
            args.extend(["--set", &self.set]);
        }
        for value in set {
            args.extend(["--set", value]);
        }
        helm(&args).await.map(drop)
    }

    /// `helm uninstall --wait`; not being installed is fine.
    pub(crate) async fn uninstall(&self) -> Result<()> {
        helm(&["uninstall", RELEASE, "--ignore-not-found", "--wait", "--timeout", "120s"]).await.map(drop)
    }

    /// `helm test`: its output.
    pub(crate) async fn test(&self) -> Result<String> {
        helm(&["test", RELEASE, "--logs", "--timeout", "120s"]).await
    }
}

async fn helm(args: &[&str]) -> Result<String> {
    let output = Command::new("helm")
        .args(args)
        .args(["--namespace", SYSTEM_NAMESPACE])
        .output()
        .await
        .context("starting helm")?;
    if !output.status.success() {
        bail!("helm {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
