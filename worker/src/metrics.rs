//! What is counted, in Prometheus' text format.

mod engines;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use hearth_proto::engine::v1::ReplicaStats;
use hearth_proto::inference::v1::Usage;
use hearth_proto::worker::v1::{ReplicaState, Store, WatchResponse};
use hearth_tls::Live;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tonic::Code;

use engines::Engines;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    code: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EngineLabels {
    device: String,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DeviceLabels {
    device: String,
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ReplicaLabels {
    replica: String,
    device: String,
    state: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// The worker's counters. Gauges are read from its state when they are asked for.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    first_token: Family<ModelLabels, Histogram, fn() -> Histogram>,
    engine_ends: Family<EngineLabels, Counter>,
    devices: Family<DeviceLabels, Gauge<f64, AtomicU64>>,
    replicas: Family<ReplicaLabels, Gauge>,
    outstanding: Family<ReplicaLabels, Gauge>,
    store: Family<KindLabels, Gauge<f64, AtomicU64>>,
    engines: Engines,
}

/// From a prompt that is in the cache to a long one on a processor, in seconds.
const FIRST_TOKEN_BUCKETS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Metrics {
    /// All at zero. `live`: what the worker shows to whoever dials it.
    pub fn new(live: Option<Live>) -> Self {
        let mut registry = Registry::with_prefix("hearth_worker");
        let first_token: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(FIRST_TOKEN_BUCKETS));
        let metrics = Self {
            requests: Family::default(),
            tokens: Family::default(),
            first_token,
            engine_ends: Family::default(),
            devices: Family::default(),
            replicas: Family::default(),
            outstanding: Family::default(),
            store: Family::default(),
            engines: Engines::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Generations that ended, by status code", metrics.requests.clone());
        registry.register(
            "tokens",
            "Tokens of prompts, of those the ones that were found in the cache, and tokens written",
            metrics.tokens.clone(),
        );
        registry.register_with_unit(
            "first_token",
            "From a request's arrival to its first token",
            Unit::Seconds,
            metrics.first_token.clone(),
        );
        registry.register(
            "engine_ends",
            "Engine processes that ended without being asked to, by reason",
            metrics.engine_ends.clone(),
        );
        registry.register_with_unit(
            "device_memory",
            "Memory of a device: total, used by others, free",
            Unit::Bytes,
            metrics.devices.clone(),
        );
        registry.register("replica", "1 for the state that a replica is in", metrics.replicas.clone());
        registry.register(
            "outstanding_requests",
            "Requests that run on a replica",
            metrics.outstanding.clone(),
        );
        registry.register_with_unit(
            "store",
            "The model store: capacity, used, and of that unused by any replica",
            Unit::Bytes,
            metrics.store.clone(),
        );
        registry.register_collector(Box::new(metrics.engines.clone()));
        if let Some(live) = live {
            registry.register_collector(Box::new(Certificate(live)));
        }
        Self { registry, ..metrics }
    }

    /// Counts one request, from now until it ends.
    pub fn request(&self, model: &str) -> RequestMetrics {
        RequestMetrics {
            model: model.to_owned(),
            requests: self.requests.clone(),
            tokens: self.tokens.clone(),
            first_token: self.first_token.clone(),
            began: Instant::now(),
            first_seen: false,
            ended: false,
        }
    }

    /// Counts an engine process that ended without being asked to.
    pub fn engine_ended(&self, device: &str, reason: &str) {
        let labels = EngineLabels { device: device.to_owned(), reason: reason.to_owned() };
        self.engine_ends.get_or_create(&labels).inc();
    }

    /// Everything, with the gauges of this state and what engines say.
    ///
    /// # Errors
    /// Never in practice: only a label that cannot be written would be one.
    pub fn render(&self, told: &WatchResponse, engines: Vec<ReplicaStats>) -> Result<String, fmt::Error> {
        self.engines.set(engines);
        self.devices.clear();
        self.replicas.clear();
        self.outstanding.clear();
        for device in &told.devices {
            for (kind, bytes) in [
                ("total", device.total_bytes),
                ("others", device.used_by_others_bytes),
                ("free", device.free_bytes),
            ] {
                let labels = DeviceLabels { device: device.uuid.clone(), kind };
                self.devices.get_or_create(&labels).set(bytes as f64);
            }
        }
        for replica in &told.replicas {
            let state = replica.state().as_str_name();
            let labels = ReplicaLabels {
                replica: replica.id.clone(),
                device: replica.device_uuid.clone(),
                state: short(state, ReplicaState::Unspecified.as_str_name()),
            };
            self.replicas.get_or_create(&labels).set(1);
            self.outstanding.get_or_create(&labels).set(replica.outstanding_requests.into());
        }
        if let Some(store) = &told.store {
            let Store { capacity_bytes, used_bytes, unused_bytes } = *store;
            for (kind, bytes) in
                [("capacity", capacity_bytes), ("used", used_bytes), ("unused", unused_bytes)]
            {
                self.store.get_or_create(&KindLabels { kind }).set(bytes as f64);
            }
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// The certificate in force.
#[derive(Debug)]
struct Certificate(Live);

impl Collector for Certificate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.current().encode_expiry(&mut encoder)
    }
}

/// `REPLICA_STATE_READY` as `ready`.
fn short(name: &str, unspecified: &str) -> String {
    let prefix = unspecified.trim_end_matches("UNSPECIFIED");
    name.strip_prefix(prefix).unwrap_or(name).to_lowercase()
}

/// One request. Dropped before its end, it counts as cancelled.
pub struct RequestMetrics {
    model: String,
    requests: Family<RequestLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    first_token: Family<ModelLabels, Histogram, fn() -> Histogram>,
    began: Instant,
    first_seen: bool,
    ended: bool,
}

impl RequestMetrics {
    /// A piece of the output.
    pub fn delta(&mut self) {
        if !self.first_seen {
            self.first_seen = true;
            let labels = ModelLabels { model: self.model.clone() };
            self.first_token.get_or_create(&labels).observe(self.began.elapsed().as_secs_f64());
        }
    }

    /// What it cost.
    pub fn usage(&mut self, usage: Usage) {
        let Usage { prompt_tokens, completion_tokens, cached_tokens } = usage;
        let kinds = [("prompt", prompt_tokens), ("cached", cached_tokens), ("completion", completion_tokens)];
        for (kind, n) in kinds {
            let labels = TokenLabels { model: self.model.clone(), kind };
            self.tokens.get_or_create(&labels).inc_by(n.into());
        }
    }

    /// How it ended.
    pub fn end(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            // A name that no model has would let strangers make labels at will.
            let model = if code == Code::NotFound { String::new() } else { self.model.clone() };
            let labels = RequestLabels { model, code: format!("{code:?}") };
            self.requests.get_or_create(&labels).inc();
        }
    }
}

impl Drop for RequestMetrics {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hearth_proto::worker::v1::{Device, ReplicaStatus};
    use hearth_tls::{Identity, testing::TestCa};

    #[test]
    fn renders() {
        let live = TestCa::new().live(&Identity::worker("box").unwrap());
        let metrics = Metrics::new(Some(live.clone()));
        let mut request = metrics.request("chat");
        request.delta();
        request.usage(Usage { prompt_tokens: 3, completion_tokens: 4, cached_tokens: 2 });
        request.end(Code::Ok);
        drop(metrics.request("chat"));
        metrics.engine_ended("cpu", "EngineKilled");
        let told = WatchResponse {
            devices: vec![Device { uuid: "cpu".into(), total_bytes: 8, ..Device::default() }],
            replicas: vec![ReplicaStatus {
                id: "a".into(),
                state: ReplicaState::Ready.into(),
                ..ReplicaStatus::default()
            }],
            ..WatchResponse::default()
        };
        let engines = vec![ReplicaStats {
            replica_id: "a".into(),
            pages: 9,
            free_pages: 2,
            steps: 5,
            ..Default::default()
        }];
        let text = metrics.render(&told, engines).unwrap();
        for line in [
            r#"hearth_worker_requests_total{model="chat",code="Ok"} 1"#,
            r#"hearth_worker_requests_total{model="chat",code="Cancelled"} 1"#,
            r#"hearth_worker_tokens_total{model="chat",kind="completion"} 4"#,
            r#"hearth_worker_tokens_total{model="chat",kind="cached"} 2"#,
            r#"hearth_worker_engine_ends_total{device="cpu",reason="EngineKilled"} 1"#,
            r#"hearth_worker_device_memory_bytes{device="cpu",kind="total"} 8"#,
            r#"hearth_worker_replica{replica="a",device="",state="ready"} 1"#,
            r#"hearth_worker_kv_pages{replica="a",kind="held"} 7"#,
            r#"hearth_worker_engine_steps_total{replica="a",kind="computed"} 5"#,
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let serial = live.current().serial().to_owned();
        let line = format!("hearth_worker_certificate_expiry_seconds{{serial=\"{serial}\"}} ");
        assert!(text.contains(&line), "{line}\n{text}");
    }
}
