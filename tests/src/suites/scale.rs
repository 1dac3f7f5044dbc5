//! Many machines, many models.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use hearth_api::{ServedModel, model::ModelState};
use hearth_model::testing::{TinyLlama, tiny_llama_gguf};
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use super::faults;
use crate::harness::{Ctx, Fleet, NAMESPACE, condition, served_model};

/// The file of every model: small, with a context so long that its KV cache decides what it takes.
const FILE: &str = "e2e-scale.gguf";
/// Two of these fill one of a machine's two devices.
const SEQUENCES: u32 = 512;
const CONTEXT: u32 = 65_536;
/// What the controller may hold, by the chart.
const MEMORY_LIMIT: u64 = 512 << 20;
/// A quiet controller may keep a processor this busy.
const IDLE_SHARE: f64 = 0.2;
/// What nobody writes in a quiet minute.
const KEPT: [&str; 6] = ["servedmodels", "workers", "pods", "secrets", "persistentvolumeclaims", "events"];

/// Every model finds its place; then nothing happens, and nothing is written but Leases. A new leader takes all
/// of it over as it is.
pub(super) async fn many_machines_and_models(ctx: &Ctx) -> Result<()> {
    let (machines, models) = ctx.scale;
    println!("\n  {machines} machines with 2 GPUs each, {models} models");
    let long = TinyLlama { context_length: CONTEXT, ..TinyLlama::new(1) };
    tokio::fs::write(ctx.models.join(FILE), tiny_llama_gguf(&long)).await?;
    ctx.helm.install(&[Fleet::SET]).await?;
    let fleet = Fleet::start(&ctx.cluster, machines, &ctx.models_ca).await?;
    let outcome = run(ctx, models).await;
    ctx.cluster.remove_all_models().await?;
    fleet.remove().await?;
    tokio::fs::remove_file(ctx.models.join(FILE)).await?;
    outcome
}

async fn run(ctx: &Ctx, models: usize) -> Result<()> {
    let began = Instant::now();
    for n in 0..models {
        ctx.cluster.apply(&model(ctx, n)).await?;
    }
    println!("  applied in {:.1} s", began.elapsed().as_secs_f64());
    all_ready(ctx, models, Duration::from_secs(15 * 60)).await?;
    println!("  all Ready after {:.1} s; {}", began.elapsed().as_secs_f64(), rounds(ctx).await?);

    quiet_minute(ctx, "after all were placed").await?;
    load(ctx, models).await?;
    quiet_minute(ctx, "after the load").await?;

    let epoch = faults::epoch(ctx).await?;
    let began = Instant::now();
    ctx.node.process("hearth-operator", "controller")?.kill().await?;
    while faults::epoch(ctx).await? == epoch {
        ensure!(began.elapsed() < Duration::from_secs(120), "no leader after 120 s");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("  a new leader after {:.1} s", began.elapsed().as_secs_f64());
    all_ready(ctx, models, Duration::from_secs(60)).await?;
    quiet_minute(ctx, "after the change of leader").await
}

fn model(ctx: &Ctx, n: usize) -> ServedModel {
    served_model(
        &format!("m-{n}"),
        json!({
            "source": {"uri": format!("{}/{FILE}", ctx.models_at)},
            "context": {"min": CONTEXT, "max": CONTEXT},
            "sequences": SEQUENCES,
            "placement": {"devices": [Fleet::PRODUCT]},
        }),
    )
}

/// Waits until every model is Ready, and says what there is meanwhile.
async fn all_ready(ctx: &Ctx, models: usize, limit: Duration) -> Result<()> {
    let began = Instant::now();
    let mut said = Instant::now();
    loop {
        let listed = ctx.cluster.models(NAMESPACE).list(&ListParams::default()).await?.items;
        let ready =
            |model: &&ServedModel| condition(model, "Ready").is_some_and(|(status, ..)| status == "True");
        if listed.len() == models && listed.iter().filter(ready).count() == models {
            return Ok(());
        }
        let mut states: BTreeMap<String, usize> = BTreeMap::new();
        for model in &listed {
            let state = model.status.as_ref().and_then(|status| status.state).unwrap_or(ModelState::Pending);
            *states.entry(format!("{state:?}")).or_default() += 1;
        }
        if said.elapsed() > Duration::from_secs(15) {
            println!("  {:.0} s: {states:?}", began.elapsed().as_secs_f64());
            said = Instant::now();
        }
        if began.elapsed() > limit {
            let waits = listed.iter().find(|model| !ready(model));
            bail!("not all Ready after {} s: {states:?}; one of them: {waits:#?}", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until what the last change brought along, such as Events, has been written.
async fn settled(ctx: &Ctx) -> Result<()> {
    const STILL: Duration = Duration::from_secs(10);
    const LIMIT: Duration = Duration::from_secs(120);
    let began = Instant::now();
    let (mut seen, mut since) = (kept(ctx).await?, Instant::now());
    while since.elapsed() < STILL {
        ensure!(began.elapsed() < LIMIT, "still writing after {} s: {seen:?}", LIMIT.as_secs());
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = kept(ctx).await?;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// Watches a minute in which nobody asks for anything.
async fn quiet_minute(ctx: &Ctx, when: &str) -> Result<()> {
    const MINUTE: Duration = Duration::from_secs(60);
    settled(ctx).await?;
    let controller = ctx.node.process("hearth-operator", "controller")?;
    let (before, busy) = (writes(ctx).await?, controller.processor_time()?);
    let renewals = lease_renewals(ctx, MINUTE).await?;
    let after = writes(ctx).await?;
    let share = (controller.processor_time()? - busy).as_secs_f64() / MINUTE.as_secs_f64();
    let memory = controller.resident_bytes()?;
    let new: BTreeMap<&str, u64> = after
        .iter()
        .map(|(resource, count)| (resource.as_str(), count - before.get(resource).unwrap_or(&0)))
        .filter(|(_, count)| *count > 0)
        .collect();
    println!(
        "  a quiet minute {when}: writes {new:?}, of the Leases {renewals} ours; the controller holds {} MiB and \
         keeps a processor busy {:.1} % of the time",
        memory >> 20,
        share * 100.0,
    );
    for resource in KEPT {
        ensure!(!new.contains_key(resource), "{resource} were written in a quiet minute: {new:?}");
    }
    // One in two seconds is what the election does; as much again may be a leader and its stand-in.
    ensure!(renewals <= 60, "the Lease was written {renewals} times in a minute");
    ensure!(memory < MEMORY_LIMIT, "the controller holds {memory} bytes");
    ensure!(share < IDLE_SHARE, "the controller keeps a processor busy {:.0} % of the time", share * 100.0);
    Ok(())
}

/// Requests that changed something, by resource, since the API server began.
async fn writes(ctx: &Ctx) -> Result<BTreeMap<String, u64>> {
    const WRITES: [&str; 6] = ["POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"];
    let request = http::Request::get("/metrics").body(Vec::new())?;
    let text = ctx.cluster.client.request_text(request).await?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("apiserver_request_total{")) {
        let (labels, count) = line.rsplit_once("} ").context("a metric")?;
        let label = |name: &str| labels.split(&format!("{name}=\"")[..]).nth(1)?.split('"').next();
        // A label's name may be the end of another's: the resource's is not.
        let (verb, resource) = (label("verb").unwrap_or_default(), label(",resource").unwrap_or_default());
        if WRITES.contains(&verb) && !resource.is_empty() {
            let count: f64 = count.trim().parse()?;
            // Counts are whole.
            *counts.entry(resource.to_owned()).or_default() += count as u64;
        }
    }
    ensure!(counts.contains_key("leases"), "the API server counts no writes of Leases");
    Ok(counts)
}

/// Writes of what a quiet minute leaves alone.
async fn kept(ctx: &Ctx) -> Result<BTreeMap<String, u64>> {
    let mut counts = writes(ctx).await?;
    counts.retain(|resource, _| KEPT.contains(&resource.as_str()));
    Ok(counts)
}

/// How often the controller's Lease is written in a time.
async fn lease_renewals(ctx: &Ctx, time: Duration) -> Result<usize> {
    let leases: Api<Lease> = ctx.cluster.system();
    let version = leases.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
    let only = WatchParams::default().fields("metadata.name=hearth-controller").timeout(200);
    let mut events = leases.watch(&only, &version).await?.boxed();
    let mut count = 0;
    let counting = async {
        while let Some(event) = events.try_next().await? {
            count += usize::from(matches!(event, WatchEvent::Modified(_)));
        }
        anyhow::Ok(())
    };
    match timeout(time, counting).await {
        Err(_) => Ok(count),
        Ok(ended) => ended.and_then(|()| bail!("the watch of the Lease ended")),
    }
}

/// How long the controller's rounds took, by its own count.
async fn rounds(ctx: &Ctx) -> Result<String> {
    let selector = ListParams::default().labels("app.kubernetes.io/name=hearth-controller");
    let pods = ctx.cluster.pods(crate::harness::SYSTEM_NAMESPACE).list(&selector).await?.items;
    let ip = pods.iter().find_map(|pod| pod.status.as_ref()?.pod_ip.clone()).context("no controller")?;
    let text = reqwest::get(format!("http://{ip}:9093/metrics")).await?.text().await?;
    let of = |end: &str| {
        let lines = text.lines().filter(|line| line.contains("round_seconds"));
        lines.filter_map(|line| line.split_once(end)?.1.trim().parse::<f64>().ok()).next()
    };
    let (sum, count) = of("_sum ").zip(of("_count ")).context("no times of rounds")?;
    Ok(format!("{count} rounds of {:.0} ms on average", sum / count.max(1.0) * 1000.0))
}

/// Clients ask for all models at once for a while; each is answered.
async fn load(ctx: &Ctx, models: usize) -> Result<()> {
    let gateway = ctx.gateway().await?;
    let data = format!(
        "{{\"model\": \"m-{{{{randomInt 0 {models}}}}}\", \"prompt\": \"Hello\", \
         \"stop\": {{\"maxTokens\": 32, \"ignoreEos\": true}}}}"
    );
    let output = Command::new("ghz")
        .args(["--insecure", "--call", "hearth.inference.v1.InferenceService.Generate", "--data", &data])
        .args(["--duration", "30s", "--duration-stop", "wait", "--concurrency", "32", "--connections", "8"])
        .args(["--timeout", "60s", "--format", "json", &gateway.grpc])
        .output()
        .await
        .context("starting ghz")?;
    ensure!(output.status.success(), "ghz: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).context("ghz's report")?;
    let at = |percent: u64| {
        let found = report["latencyDistribution"].as_array().and_then(|all| {
            all.iter().find(|one| one["percentage"] == percent).and_then(|one| one["latency"].as_f64())
        });
        found.unwrap_or_default() / 1e6
    };
    println!(
        "  32 clients for 30 s: {} streams, {:.0} a second; 50 % within {:.0} ms, 99 % within {:.0} ms; {}",
        report["count"],
        report["rps"].as_f64().unwrap_or_default(),
        at(50),
        at(99),
        report["statusCodeDistribution"],
    );
    let codes = report["statusCodeDistribution"].as_object().context("no codes")?;
    ensure!(
        codes.keys().all(|code| code == "OK"),
        "not all were answered: {codes:?} {}",
        report["errorDistribution"]
    );
    Ok(())
}
