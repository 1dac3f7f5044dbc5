//! Metrics of the controller. Labels are names of states and reasons, never
//! names of models: their number is bounded.

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// A stage of a round.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Stage {
    /// `look`, `act` or `tell`.
    pub stage: &'static str,
}

/// A state that something is in.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct InState {
    /// The state's name.
    pub state: &'static str,
}

/// Metrics of the controller.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Rounds that were finished.
    pub rounds: Counter<u64, AtomicU64>,
    /// How long a round took.
    pub round_seconds: Histogram,
    /// Writes that failed, by stage.
    pub errors: Family<Stage, Counter>,
    /// Writes of a status.
    pub status_writes: Counter<u64, AtomicU64>,
    /// The epoch in which this process leads; 0 if it does not.
    pub epoch: Gauge<i64, AtomicI64>,
    /// ServedModels by state.
    pub models: Family<InState, Gauge>,
    /// Workers by state.
    pub workers: Family<InState, Gauge>,
}

impl Metrics {
    /// Registers everything under `hearth_controller`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            rounds: Counter::default(),
            round_seconds: Histogram::new(exponential_buckets(0.001, 4.0, 8)),
            errors: Family::default(),
            status_writes: Counter::default(),
            epoch: Gauge::default(),
            models: Family::default(),
            workers: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("hearth_controller");
        registry.register("rounds", "Reconcile rounds", metrics.rounds.clone());
        registry.register("round_seconds", "Duration of a reconcile round", metrics.round_seconds.clone());
        registry.register("errors", "Failed reads and writes, by stage", metrics.errors.clone());
        registry.register("status_writes", "Writes of a status", metrics.status_writes.clone());
        registry.register(
            "epoch",
            "Epoch in which this process leads, 0 if it does not",
            metrics.epoch.clone(),
        );
        registry.register("models", "ServedModels by state", metrics.models.clone());
        registry.register("workers", "Workers by state", metrics.workers.clone());
        metrics
    }
}
