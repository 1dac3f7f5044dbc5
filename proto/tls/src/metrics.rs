//! What Prometheus is told of a certificate.

use std::fmt;
use std::time::SystemTime;

use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::Credentials;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    serial: String,
}

impl Credentials {
    /// Writes the gauge `certificate_expiry_seconds`, labelled with the certificate's
    /// serial number: the same in every process that holds one.
    ///
    /// # Errors
    /// The encoder's.
    pub fn encode_expiry(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let expiry = self.not_after().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let help = "When the certificate in force ends, since 1970";
        let mut family =
            encoder.encode_descriptor("certificate_expiry", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        let labels = Labels { serial: self.serial().to_owned() };
        ConstGauge::new(expiry.as_secs_f64()).encode(family.encode_family(&labels)?)
    }
}
