//! Helm's side: test, upgrade, uninstall.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::harness::{Ctx, SYSTEM_NAMESPACE, prompt, smollm2};

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
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let clients = (0..2).map(|_| {
        let (stop, done, cluster) = (stop.clone(), done.clone(), ctx.cluster.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // A new connection each time, as a client that retries a closed one makes it.
                let gateway = crate::harness::Gateway::dial(&cluster).await?;
                let answer = gateway.generate(prompt("chat", "Hello", 24)).await?;
                ensure!(answer.tokens == 24, "{} tokens", answer.tokens);
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        })
    });
    let clients: Vec<_> = clients.collect();
    let upgraded = ctx
        .helm
        .install(&["worker.log=debug", "gateway.log=debug", "controller.log=info\\,hearth_operator=debug"])
        .await;
    let ready = ctx.wait_condition(&smollm2(ctx, "chat"), "Ready", "True").await;
    // Past the upgrade, the clients must still be served.
    let target = done.load(Ordering::Relaxed) + 4;
    let goes_on = tokio::time::timeout(Duration::from_secs(90), async {
        while done.load(Ordering::Relaxed) < target && !clients.iter().any(|client| client.is_finished()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?.context("a request failed during the upgrade")?;
    }
    upgraded?;
    ready?;
    goes_on.context("requests stopped after the upgrade")?;
    Ok(())
}

/// After `helm uninstall` only what `keep` names is there: CRDs with their objects, and the CA.
pub(super) async fn uninstall_leaves_what_keep_says(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    ctx.helm.uninstall().await?;
    let pods = ctx.cluster.pods(SYSTEM_NAMESPACE);
    let gone = async {
        while !pods.list(&Default::default()).await?.items.is_empty() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(90), gone).await.context("Pods are still there")??;
    let left = ctx
        .cluster
        .kubectl(&[
            "-n",
            SYSTEM_NAMESPACE,
            "get",
            "deploy,svc,pods,secrets,configmaps,serviceaccounts,roles,rolebindings,leases,pvc",
            "-o",
            "name",
        ])
        .await?;
    let unexpected: Vec<_> = left
        .lines()
        .filter(|name| {
            !["secret/hearth-ca", "configmap/kube-root-ca.crt", "serviceaccount/default"].contains(name)
        })
        .collect();
    ensure!(unexpected.is_empty(), "left behind: {unexpected:?}");
    let crds = ctx.cluster.kubectl(&["get", "crd", "-o", "name"]).await?;
    ensure!(crds.contains("servedmodels.hearth.dev"), "the CRDs are not kept: {crds}");
    let roles = ctx.cluster.kubectl(&["get", "clusterroles,clusterrolebindings", "-o", "name"]).await?;
    ensure!(!roles.contains("hearth"), "left behind: {roles}");
    Ok(())
}
