//! Certificates are replaced while everything runs.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use crate::harness::{Ctx, Traffic, serial_of_pem, serial_served, smollm2};

const GATEWAY_SECRET: &str = "hearth-gateway-tls";

/// Both certificates are made anew: worker and gateway take them up while they run, and no request fails.
pub(super) async fn rotation_is_followed(ctx: &Ctx) -> Result<()> {
    let model = ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    let worker = model.status.context("a status")?.replicas.first().context("a replica")?.worker.clone();
    let pod = only_pod(ctx, "hearth-worker").await?;
    let gateway = only_pod(ctx, "hearth-gateway").await?;
    let worker_secret = format!("hearth-worker-{worker}-tls");
    let old =
        Serials { worker: serial_served(&grpc(&pod)?).await?, gateway: gateway_serial(&gateway).await? };
    ensure!(old.worker == secret_serial(ctx, &worker_secret).await?, "the worker shows another certificate");
    ensure!(old.gateway == secret_serial(ctx, GATEWAY_SECRET).await?, "the gateway uses another certificate");

    let traffic = Traffic::start(&ctx.cluster, "chat", 2, 8);
    traffic.goes_on(2, Duration::from_secs(30)).await?;
    let new = rotate(ctx, &pod, &gateway, [&worker_secret, GATEWAY_SECRET], &old).await;
    let after = traffic.goes_on(4, Duration::from_secs(60)).await;
    traffic.stop().await?;
    let new = new?;
    after?;
    ensure!(new.worker == secret_serial(ctx, &worker_secret).await?);
    ensure!(new.gateway == secret_serial(ctx, GATEWAY_SECRET).await?);
    for (name, before) in [("hearth-worker", &pod), ("hearth-gateway", &gateway)] {
        let now = only_pod(ctx, name).await?;
        ensure!(now.metadata.uid == before.metadata.uid, "{name}: another Pod serves now");
        ensure!(restarts(&now) == restarts(before), "{name} was restarted");
    }
    Ok(())
}

struct Serials {
    worker: String,
    gateway: String,
}

/// Deletes the certificates' Secrets, which the controller makes anew, and waits until both processes use
/// what is in them.
async fn rotate(
    ctx: &Ctx,
    worker: &Pod,
    gateway: &Pod,
    secrets: [&str; 2],
    old: &Serials,
) -> Result<Serials> {
    let api: Api<Secret> = ctx.cluster.system();
    for name in secrets {
        let before = api.get(name).await?.metadata.uid;
        api.delete(name, &DeleteParams::default()).await?;
        let anew = |secret: Option<&Secret>| secret.is_some_and(|secret| secret.metadata.uid != before);
        ctx.cluster.wait(api.clone(), name, Duration::from_secs(30), "made anew", anew).await?;
    }
    // The kubelet looks at a Pod's Secrets when it looks at the Pod: at least once a minute, and at each change.
    let note = Patch::Merge(json!({"metadata": {"annotations": {"e2e/rotated": old.worker}}}));
    let name = worker.metadata.name.as_deref().context("the Pod's name")?;
    ctx.cluster.system::<Pod>().patch(name, &PatchParams::default(), &note).await?;
    let address = grpc(worker)?;
    let followed = async {
        loop {
            let new =
                Serials { worker: serial_served(&address).await?, gateway: gateway_serial(gateway).await? };
            if new.worker != old.worker && new.gateway != old.gateway {
                return Ok(new);
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), followed)
        .await
        .context("the new certificates are not used")?
}

async fn only_pod(ctx: &Ctx, name: &str) -> Result<Pod> {
    let selector = ListParams::default().labels(&format!("app.kubernetes.io/name={name}"));
    let mut pods = ctx.cluster.system::<Pod>().list(&selector).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    ensure!(pods.len() == 1, "{} Pods of {name}", pods.len());
    pods.pop().with_context(|| format!("no Pod of {name}"))
}

fn ip(pod: &Pod) -> Result<&str> {
    pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).context("the Pod has no address")
}

fn grpc(pod: &Pod) -> Result<String> {
    Ok(format!("{}:9090", ip(pod)?))
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).sum()
}

async fn secret_serial(ctx: &Ctx, name: &str) -> Result<String> {
    let secret: Secret = ctx.cluster.system().get(name).await?;
    serial_of_pem(&secret.data.unwrap_or_default().get("tls.crt").context("no tls.crt")?.0)
}

/// The gateway only dials with its certificate, and tells which one it has.
async fn gateway_serial(pod: &Pod) -> Result<String> {
    let metrics = reqwest::get(format!("http://{}:8080/metrics", ip(pod)?)).await?.text().await?;
    let line = metrics.lines().find_map(|line| {
        line.strip_prefix("hearth_gateway_certificate_expiry_seconds{serial=\"")?.split('"').next()
    });
    line.map(str::to_owned).with_context(|| format!("no certificate is told of in\n{metrics}"))
}
