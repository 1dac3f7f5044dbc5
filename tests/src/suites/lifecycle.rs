//! Helm's side: test, upgrade, uninstall.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kube::api::ListParams;

use crate::harness::{Ctx, SYSTEM_NAMESPACE, Traffic, smollm2};

/// The chart's own test generates a token.
pub(super) async fn helm_test_passes(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let said = ctx.helm.test().await?;
    ensure!(said.contains("Succeeded"), "helm test said {said}");
    Ok(())
}

/// `helm upgrade` rolls controller, gateway and worker while requests run; none fails.
pub(super) async fn upgrade_with_requests_running(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let old_worker = worker_uid(ctx).await?;
    let traffic = Traffic::start(&ctx.cluster, "chat", 2, 24);
    let upgraded = ctx
        .helm
        .install(&["worker.log=debug", "gateway.log=debug", "controller.log=info\\,hearth_operator=debug"])
        .await;
    let rolled = async {
        while worker_uid(ctx).await.is_ok_and(|uid| uid == old_worker) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let rolled = tokio::time::timeout(Duration::from_secs(90), rolled).await;
    // Past the upgrade, the clients must still be served, by the new worker.
    let goes_on = traffic.goes_on(4, Duration::from_secs(90)).await;
    traffic.stop().await?;
    upgraded?;
    rolled.context("the worker Pod was not replaced")?;
    goes_on.context("after the upgrade")?;
    ensure!(worker_uid(ctx).await? != old_worker, "the worker Pod is the old one");
    Ok(())
}

/// The UID of the only worker Pod that is not on its way out.
async fn worker_uid(ctx: &Ctx) -> Result<String> {
    let selector = ListParams::default().labels("app.kubernetes.io/name=hearth-worker");
    let pods = ctx.cluster.pods(SYSTEM_NAMESPACE).list(&selector).await?;
    let mut living = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    living.next().and_then(|pod| pod.metadata.uid).context("no worker Pod")
}

/// After `helm uninstall` only what `keep` names is there: CRDs with their objects, and the CA.
pub(super) async fn uninstall_leaves_what_keep_says(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    ctx.helm.uninstall().await?;
    // The garbage collector takes what belonged to the release after the release is gone.
    let mut left = Vec::new();
    let gone = async {
        loop {
            left = leftovers(ctx).await?;
            if left.is_empty() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(90), gone).await {
        Ok(outcome) => outcome?,
        Err(_) => anyhow::bail!("left behind: {left:?}"),
    }
    ctx.cluster
        .kubectl(&["-n", SYSTEM_NAMESPACE, "get", "secret", "hearth-ca"])
        .await
        .context("the CA is kept")?;
    let crds = ctx.cluster.kubectl(&["get", "crd", "-o", "name"]).await?;
    ensure!(crds.contains("servedmodels.hearth.dev"), "the CRDs are not kept: {crds}");
    let roles = ctx.cluster.kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"]).await?;
    ensure!(!roles.contains("hearth"), "left behind: {roles}");
    Ok(())
}

/// What is in the release's namespace and neither kept on purpose nor Kubernetes' own.
async fn leftovers(ctx: &Ctx) -> Result<Vec<String>> {
    const KINDS: &str = "deploy,svc,pods,secrets,configmaps,serviceaccounts,roles,rolebindings,leases,pvc";
    const EXPECTED: [&str; 3] = ["secret/hearth-ca", "configmap/kube-root-ca.crt", "serviceaccount/default"];
    let names = ctx.cluster.kubectl(&["-n", SYSTEM_NAMESPACE, "get", KINDS, "-o", "name"]).await?;
    Ok(names.lines().filter(|name| !EXPECTED.contains(name)).map(str::to_owned).collect())
}
