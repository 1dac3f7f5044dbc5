//! Parts of the chart that are off by default, and that others act on.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    core::v1::{Pod, Service},
    networking::v1::NetworkPolicy,
};
use k8s_openapi::apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};

use crate::harness::{Ctx, SYSTEM_NAMESPACE, smollm2};

/// Every monitor that the chart makes leads to a port that serves metrics of ours.
pub(super) async fn monitors_find_metrics(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    ctx.helm.install(&["serviceMonitor.enabled=true"]).await?;
    let outcome = scrape_all(ctx).await;
    ctx.helm.install(&[]).await?;
    outcome
}

async fn scrape_all(ctx: &Ctx) -> Result<()> {
    let pods = running(ctx).await?;
    let services = ctx.cluster.system::<Service>().list(&ListParams::default()).await?.items;
    let mut scraped = Vec::new();
    for monitor in monitors(ctx, "ServiceMonitor").await? {
        let (labels, port) = endpoint(&monitor, "endpoints")?;
        let service = services.iter().find(|service| selects(&labels, service.labels()));
        let service = service.with_context(|| format!("{}: no Service", monitor.name_any()))?;
        let spec = service.spec.as_ref().context("a spec")?;
        let ports = spec.ports.as_deref().unwrap_or_default();
        let port = ports.iter().find(|one| one.name.as_deref() == Some(&port)).context("no such port")?;
        let target = port.target_port.clone().unwrap_or(IntOrString::Int(port.port));
        let selector = spec.selector.clone().unwrap_or_default();
        scraped.push(scrape(&pods, &selector, &target).await.with_context(|| monitor.name_any())?);
    }
    for monitor in monitors(ctx, "PodMonitor").await? {
        let (labels, port) = endpoint(&monitor, "podMetricsEndpoints")?;
        let scraped_here = scrape(&pods, &labels, &IntOrString::String(port)).await;
        scraped.push(scraped_here.with_context(|| monitor.name_any())?);
    }
    scraped.sort();
    ensure!(scraped == ["hearth_controller", "hearth_gateway", "hearth_worker"], "scraped {scraped:?}");
    Ok(())
}

async fn monitors(ctx: &Ctx, kind: &str) -> Result<Vec<DynamicObject>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("monitoring.coreos.com", "v1", kind));
    let api: Api<DynamicObject> =
        Api::namespaced_with(ctx.cluster.client.clone(), SYSTEM_NAMESPACE, &resource);
    Ok(api.list(&ListParams::default()).await?.items)
}

/// The labels that a monitor selects, and the name of the port.
fn endpoint(monitor: &DynamicObject, field: &str) -> Result<(BTreeMap<String, String>, String)> {
    let spec = &monitor.data["spec"];
    let labels = serde_json::from_value(spec["selector"]["matchLabels"].clone())?;
    let port = spec[field].as_array().and_then(|all| all.first()).and_then(|one| one["port"].as_str());
    Ok((labels, port.context("no port")?.to_owned()))
}

/// Reads the metrics of the first Pod with these labels, and gives their common prefix.
async fn scrape(pods: &[Pod], labels: &BTreeMap<String, String>, port: &IntOrString) -> Result<String> {
    let pod = pods.iter().find(|pod| selects(labels, pod.labels())).context("no Pod")?;
    let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref()).context("no address")?;
    let port = container_port(pod, port).context("no such port")?;
    let text = reqwest::get(format!("http://{ip}:{port}/metrics")).await?.error_for_status()?.text().await?;
    let name = text.lines().find_map(|line| line.strip_prefix("# HELP ")).context("no metrics")?;
    Ok(name.split('_').take(2).collect::<Vec<_>>().join("_"))
}

/// What the chart's policies say of the Pods that run: they let the parts reach each other where they do, and
/// nobody else where it matters. That somebody enforces them is not ours to test.
pub(super) async fn policies_let_through_what_is_needed(ctx: &Ctx) -> Result<()> {
    ctx.apply_ready(&smollm2(ctx, "chat")).await?;
    ctx.helm.install(&["networkPolicy.enabled=true"]).await?;
    let outcome = judge(ctx).await;
    ctx.helm.install(&[]).await?;
    outcome
}

async fn judge(ctx: &Ctx) -> Result<()> {
    let policies = ctx.cluster.system::<NetworkPolicy>().list(&ListParams::default()).await?.items;
    let pods = running(ctx).await?;
    let pod = |name: &str| {
        let found =
            pods.iter().find(|pod| pod.labels().get("app.kubernetes.io/name").is_some_and(|n| n == name));
        found.with_context(|| format!("no Pod of {name}"))
    };
    let (controller, gateway, worker) =
        (pod("hearth-controller")?, pod("hearth-gateway")?, pod("hearth-worker")?);
    let stranger = Pod::default();
    for (from, to, port, expected) in [
        (gateway, worker, "grpc", true),
        (controller, worker, "grpc", true),
        (gateway, controller, "control", true),
        (&stranger, worker, "grpc", false),
        (&stranger, controller, "control", false),
        (worker, controller, "control", false),
        (&stranger, gateway, "grpc", true),
        (&stranger, gateway, "http", true),
        (&stranger, worker, "http", true),
        (&stranger, controller, "metrics", true),
    ] {
        let number = container_port(to, &IntOrString::String(port.to_owned()))
            .with_context(|| format!("{} has no port {port}", to.name_any()))?;
        let is_open = allowed(&policies, from, to, number);
        let who = |pod: &Pod| pod.metadata.name.clone().unwrap_or_else(|| "a stranger".to_owned());
        ensure!(is_open == expected, "{} may reach {} at {port}: {is_open}", who(from), who(to));
    }
    Ok(())
}

/// Whether ingress policies let one Pod of the namespace reach a port of another.
fn allowed(policies: &[NetworkPolicy], from: &Pod, to: &Pod, port: i32) -> bool {
    let about: Vec<_> = policies
        .iter()
        .filter_map(|policy| policy.spec.as_ref())
        .filter(|spec| spec.pod_selector.as_ref().is_none_or(|selector| matches(selector, to)))
        .collect();
    let lets_in = |rule: &k8s_openapi::api::networking::v1::NetworkPolicyIngressRule| {
        let peers = rule.from.as_deref().unwrap_or_default();
        let ports = rule.ports.as_deref().unwrap_or_default();
        let is_peer = |peer: &k8s_openapi::api::networking::v1::NetworkPolicyPeer| {
            peer.pod_selector.as_ref().is_some_and(|selector| matches(selector, from))
        };
        (peers.is_empty() || peers.iter().any(is_peer))
            && (ports.is_empty() || ports.iter().any(|one| one.port == Some(IntOrString::Int(port))))
    };
    about.is_empty() || about.iter().flat_map(|spec| spec.ingress.iter().flatten()).any(lets_in)
}

fn matches(selector: &LabelSelector, pod: &Pod) -> bool {
    let labels = pod.labels();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    selector.match_labels.as_ref().is_none_or(|wanted| selects(wanted, labels))
        && expressions.iter().all(|one| {
            let values = one.values.as_deref().unwrap_or_default();
            one.operator == "In" && labels.get(&one.key).is_some_and(|value| values.contains(value))
        })
}

fn selects(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn container_port(pod: &Pod, port: &IntOrString) -> Option<i32> {
    let name = match port {
        IntOrString::Int(number) => return Some(*number),
        IntOrString::String(name) => name,
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.find(|one| one.name.as_deref() == Some(name)).map(|one| one.container_port)
}

async fn running(ctx: &Ctx) -> Result<Vec<Pod>> {
    let mut pods = ctx.cluster.system::<Pod>().list(&ListParams::default()).await?.items;
    pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(pods)
}
