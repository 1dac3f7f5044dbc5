//! What Prometheus is told of replicas by their engines.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use hearth_proto::engine::v1::ReplicaStats;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    replica: String,
    kind: &'static str,
}

/// A metric, and its values by kind.
struct Told {
    name: &'static str,
    help: &'static str,
    metric: MetricType,
    values: fn(&ReplicaStats) -> Vec<(&'static str, u64)>,
}

const TOLD: [Told; 5] = [
    Told {
        name: "kv_pages",
        help: "Pages of keys and values: held by requests, kept for those to come, free",
        metric: MetricType::Gauge,
        values: |stats| {
            let held = stats.pages.saturating_sub(stats.free_pages).saturating_sub(stats.cached_pages);
            vec![("held", held), ("cached", stats.cached_pages), ("free", stats.free_pages)]
        },
    },
    Told {
        name: "engine_requests",
        help: "Requests that take part in steps, and that wait for a place or for pages",
        metric: MetricType::Gauge,
        values: |stats| vec![("running", stats.running.into()), ("waiting", stats.waiting.into())],
    },
    Told {
        name: "engine_tokens",
        help: "Tokens of prompts that were computed and that were found, and tokens that were decoded",
        metric: MetricType::Counter,
        values: |stats| {
            vec![
                ("read", stats.read_tokens),
                ("cached", stats.cached_tokens),
                ("decoded", stats.decoded_tokens),
            ]
        },
    },
    Told {
        name: "engine_steps",
        help: "Steps, and requests that were set aside to give their pages to older ones",
        metric: MetricType::Counter,
        values: |stats| vec![("computed", stats.steps), ("preemption", stats.preemptions)],
    },
    Told {
        name: "engine_guesses",
        help: "Guessed tokens that were checked, and those that were right",
        metric: MetricType::Counter,
        values: |stats| vec![("checked", stats.guesses), ("right", stats.right_guesses)],
    },
];

/// What engines said last.
#[derive(Clone, Debug, Default)]
pub(super) struct Engines(Arc<Mutex<Vec<ReplicaStats>>>);

impl Engines {
    pub(super) fn set(&self, stats: Vec<ReplicaStats>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stats;
    }
}

impl Collector for Engines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let replicas = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for Told { name, help, metric, values } in &TOLD {
            let mut family = encoder.encode_descriptor(name, help, None, *metric)?;
            for stats in replicas.iter() {
                for (kind, value) in values(stats) {
                    let labels = Labels { replica: stats.replica_id.clone(), kind };
                    let encoder = family.encode_family(&labels)?;
                    match metric {
                        MetricType::Counter => ConstCounter::new(value).encode(encoder)?,
                        _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder)?,
                    }
                }
            }
        }
        Ok(())
    }
}
