//! What the cases share: the installation under test, and the loop that runs them.

mod certificate;
mod cluster;
mod fleet;
mod gateway;
mod helm;
mod model;
mod node;
mod raw;
mod traffic;

use std::{
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use futures::{FutureExt, future::BoxFuture};

pub(crate) use certificate::{serial_of_pem, serial_served};
pub(crate) use cluster::{Cluster, SYSTEM_NAMESPACE};
pub(crate) use fleet::Fleet;
pub(crate) use gateway::{GENERATE, Gateway, prompt};
pub(crate) use helm::Helm;
pub(crate) use model::{NAMESPACE, condition, served_model, smollm2};
pub(crate) use node::{GPU, Node, gpu_node, park};
pub(crate) use raw::call;
pub(crate) use traffic::Traffic;

/// A case takes at most this long, whatever it waits for.
pub(crate) const CASE_LIMIT: Duration = Duration::from_secs(240);

/// Where the installation's parts are; `tests/e2e.sh` knows.
#[derive(Args)]
pub(crate) struct Settings {
    /// The chart's folder.
    #[arg(long, env = "HEARTH_E2E_CHART")]
    chart: String,
    /// Values for this cluster, a file.
    #[arg(long, env = "HEARTH_E2E_VALUES")]
    values: String,
    /// Sets the images' tags, as `--set` of Helm takes it.
    #[arg(long, env = "HEARTH_E2E_SET", default_value = "")]
    set: String,
    /// The folder of the cluster's scripts, for faults of the node.
    #[arg(long, env = "HEARTH_E2E_DEV_CLUSTER")]
    dev_cluster: String,
    /// The test model's source, as the cluster reaches it.
    #[arg(long, env = "HEARTH_E2E_MODEL_URI")]
    model_uri: String,
    /// The folder that the cluster's model server serves.
    #[arg(long, env = "HEARTH_E2E_MODELS")]
    models: PathBuf,
    /// Where it serves that folder, for those who do not ask the cluster's DNS.
    #[arg(long, env = "HEARTH_E2E_MODELS_AT")]
    models_at: String,
    /// The authority that it shows there, a file.
    #[arg(long, env = "HEARTH_E2E_MODELS_CA")]
    models_ca: PathBuf,
    /// Machines of the scale run.
    #[arg(long, env = "HEARTH_SCALE_NODES", default_value_t = 50)]
    scale_nodes: usize,
    /// Models of the scale run.
    #[arg(long, env = "HEARTH_SCALE_MODELS", default_value_t = 200)]
    scale_models: usize,
}

/// Everything that a case works with.
pub(crate) struct Ctx {
    pub(crate) cluster: Cluster,
    pub(crate) helm: Helm,
    pub(crate) node: Node,
    /// The test model's source.
    pub(crate) model_uri: String,
    /// The folder that the cluster's model server serves.
    pub(crate) models: PathBuf,
    /// Where it serves that folder, for those who do not ask the cluster's DNS.
    pub(crate) models_at: String,
    /// The authority that it shows there, a file.
    pub(crate) models_ca: PathBuf,
    /// How many machines and models the scale run has.
    pub(crate) scale: (usize, usize),
}

impl Ctx {
    /// Connects to the cluster and installs the chart anew.
    pub(crate) async fn start(settings: Settings) -> Result<Self> {
        rustls::crypto::ring::default_provider().install_default().ok();
        let cluster = Cluster::connect().await?;
        let helm = Helm::new(settings.chart, settings.values, settings.set);
        let node = Node::new(settings.dev_cluster);
        let ctx = Self {
            cluster,
            helm,
            node,
            model_uri: settings.model_uri,
            models: settings.models,
            models_at: settings.models_at,
            models_ca: settings.models_ca,
            scale: (settings.scale_nodes, settings.scale_models),
        };
        ctx.cluster.remove_all_models().await?;
        ctx.helm.uninstall().await?;
        ctx.helm.install(&[]).await?;
        ctx.cluster.ensure_namespace(NAMESPACE).await?;
        Ok(ctx)
    }

    /// The gateway through its Service, dialled anew.
    pub(crate) async fn gateway(&self) -> Result<Gateway> {
        Gateway::dial(&self.cluster).await
    }
}

/// One case: what it is called and how it runs.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// It takes at most this long.
    pub(crate) limit: Duration,
    pub(crate) run: for<'a> fn(&'a Ctx) -> BoxFuture<'a, Result<()>>,
}

/// Runs the cases and prints a line each, then `N passed, N failed`.
pub(crate) async fn run(ctx: &Ctx, cases: &[Case]) -> Result<ExitCode> {
    let mut failed = 0;
    for case in cases {
        print!("case {} ... ", case.name);
        std::io::stdout().flush()?;
        let start = Instant::now();
        let caught = std::panic::AssertUnwindSafe((case.run)(ctx)).catch_unwind();
        let outcome = match tokio::time::timeout(case.limit, caught).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(anyhow::anyhow!("the case panicked")),
            Err(_) => Err(anyhow::anyhow!("not done after {} s", case.limit.as_secs())),
        };
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("ok ({seconds:.1} s)"),
            Err(error) => {
                failed += 1;
                println!("FAILED ({seconds:.1} s)\n  {error:#}");
                ctx.cluster.print_state().await;
            }
        }
        ctx.cluster.remove_all_models().await.context("cleaning up after the case")?;
    }
    println!("{} passed, {failed} failed", cases.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
