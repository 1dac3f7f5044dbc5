//! What Prometheus scrapes.

use std::{fmt, sync::Arc, time::Duration};

use hearth_tls::Live;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::sync::watch;
use tonic::Code;

use super::{
    ledger::{Activity, Ledger},
    memory::Memory,
};

/// Counters that requests write to. What is going on at the moment is read from the [`Ledger`]
/// at each scrape, so that the two cannot differ.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    retries: Family<ModelLabels, Counter>,
    unread: Family<ModelLabels, Counter>,
    tokens: Family<TokenLabels, Counter>,
    first_token: Family<ModelLabels, Histogram, fn() -> Histogram>,
}

/// Labels hold served names that exist, and nothing that a client made up: an unknown name is
/// counted as `""`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    model: String,
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: &'static str,
}

impl Metrics {
    /// All counters at zero.
    pub fn new(ledger: Arc<Ledger>, credentials: watch::Receiver<Option<Live>>, memory: Memory) -> Self {
        let requests = Family::default();
        let retries = Family::default();
        let unread = Family::default();
        let tokens = Family::default();
        let first_token = Family::new_with_constructor(first_token_buckets as fn() -> Histogram);
        let mut registry = Registry::with_prefix("hearth_gateway");
        registry.register("requests", "Requests that ended, by their gRPC code", requests.clone());
        registry.register(
            "retries",
            "Times that a request was sent to another replica before its first token",
            retries.clone(),
        );
        registry.register(
            "unread",
            "Answers that were ended because their client did not read them",
            unread.clone(),
        );
        registry.register("tokens", "Tokens of the requests that ended", tokens.clone());
        registry.register_with_unit(
            "time_to_first_token",
            "From the arrival of a request to its first token, waiting included",
            Unit::Seconds,
            first_token.clone(),
        );
        registry.register_collector(Box::new(Now(ledger)));
        registry.register_collector(Box::new(InUse(memory)));
        registry.register_collector(Box::new(Certificate(credentials)));
        Self { registry, requests, retries, unread, tokens, first_token }
    }

    /// A request ended with this code. `model` is empty if there is no such model.
    pub fn ended(&self, model: &str, method: &'static str, code: Code) {
        let labels = RequestLabels { model: model.into(), method, code: code_name(code) };
        self.requests.get_or_create(&labels).inc();
    }

    /// A request is sent to another replica.
    pub fn retried(&self, model: &str) {
        self.retries.get_or_create(&ModelLabels { model: model.into() }).inc();
    }

    /// An answer was ended because its client did not read it.
    pub fn unread(&self, model: &str) {
        self.unread.get_or_create(&ModelLabels { model: model.into() }).inc();
    }

    /// The first token came this long after the request.
    pub fn first_token(&self, model: &str, after: Duration) {
        self.first_token.get_or_create(&ModelLabels { model: model.into() }).observe(after.as_secs_f64());
    }

    /// What a generation used.
    pub fn used(&self, model: &str, prompt: u32, completion: u32) {
        for (kind, count) in [("prompt", prompt), ("completion", completion)] {
            self.tokens.get_or_create(&TokenLabels { model: model.into(), kind }).inc_by(count.into());
        }
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// 20 ms to 11 min: from a short prompt on a fast GPU to a wait for a model that loads.
fn first_token_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.02, 2.0, 16))
}

/// Name, help and value.
type GaugeOf = (&'static str, &'static str, fn(&Activity) -> u32);

const GAUGES: [GaugeOf; 2] = [
    ("waiting", "Requests held until a replica can take them", |activity| activity.waiting),
    ("outstanding", "Requests that a replica is answering", |activity| activity.running),
];

#[derive(Debug)]
struct Now(Arc<Ledger>);

impl Collector for Now {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let activities = self.0.snapshot();
        for (name, help, value) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for activity in &activities {
                let labels = ModelLabels { model: activity.served_name.clone() };
                ConstGauge::new(i64::from(value(activity))).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct InUse(Memory);

impl Collector for InUse {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Bytes that the requests at hand hold";
        let gauge = ConstGauge::new(self.0.used());
        gauge.encode(encoder.encode_descriptor("held", help, Some(&Unit::Bytes), MetricType::Gauge)?)
    }
}

/// The certificate with which workers and the controller are dialled, once there is one.
#[derive(Debug)]
struct Certificate(watch::Receiver<Option<Live>>);

impl Collector for Certificate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(current) = self.0.borrow().as_ref().map(Live::current) else { return Ok(()) };
        current.encode_expiry(&mut encoder)
    }
}

/// The code as the gRPC specification spells it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use hearth_tls::{Identity, testing::TestCa};

    use super::*;
    use crate::gateway::routes::facts::ModelKey;

    #[test]
    fn encodes_counters_and_the_present() {
        let ledger = Arc::new(Ledger::default());
        let (credentials_out, credentials) = watch::channel(None);
        let metrics = Metrics::new(ledger.clone(), credentials, Memory::new(10));
        assert!(!metrics.encode().unwrap().contains("certificate"));
        let live = TestCa::new().live(&Identity::Gateway);
        credentials_out.send_replace(Some(live.clone()));
        let key = ModelKey { namespace: "default".into(), name: "m".into() };
        let mut request = ledger.begin(&key, "chat");
        request.running();
        let _waiting = ledger.begin(&key, "chat");
        metrics.ended("chat", "Generate", Code::Ok);
        metrics.used("chat", 3, 4);
        metrics.first_token("chat", Duration::from_millis(30));
        metrics.retried("chat");
        let text = metrics.encode().unwrap();
        for line in [
            "hearth_gateway_requests_total{model=\"chat\",method=\"Generate\",code=\"OK\"} 1",
            "hearth_gateway_tokens_total{model=\"chat\",kind=\"completion\"} 4",
            "hearth_gateway_retries_total{model=\"chat\"} 1",
            "hearth_gateway_held_bytes 0",
            "hearth_gateway_waiting{model=\"chat\"} 1",
            "hearth_gateway_outstanding{model=\"chat\"} 1",
            "hearth_gateway_time_to_first_token_seconds_bucket{le=\"0.04\",model=\"chat\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let serial = live.current().serial().to_owned();
        let line = format!("hearth_gateway_certificate_expiry_seconds{{serial=\"{serial}\"}} ");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    }
}
