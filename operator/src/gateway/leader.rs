//! Who leads the controllers, as their Lease says.

use k8s_openapi::api::coordination::v1::Lease;

/// The controller that leads, and where it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    /// Its Pod's name.
    pub holder: String,
    /// `host:port` of its control server.
    pub address: String,
    /// Grows with each change of leader; 0 if the Lease does not say.
    pub epoch: u64,
}

/// The leader that a Lease names; none while nobody holds it.
pub fn of_lease(lease: &Lease) -> Option<Leader> {
    let annotation =
        |name: &str| lease.metadata.annotations.as_ref()?.get(name).filter(|value| !value.is_empty());
    let holder = lease.spec.as_ref()?.holder_identity.clone().filter(|holder| !holder.is_empty())?;
    let address = annotation(hearth_api::meta::ANNOTATION_ADDRESS)?.clone();
    let epoch =
        annotation(hearth_api::meta::ANNOTATION_EPOCH).and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
    Some(Leader { holder, address, epoch })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lease(holder: &str, annotations: serde_json::Value) -> Lease {
        serde_json::from_value(json!({
            "metadata": {"name": hearth_api::meta::CONTROLLER_LEASE, "annotations": annotations},
            "spec": {"holderIdentity": holder},
        }))
        .unwrap()
    }

    #[test]
    fn a_leader_has_a_name_and_an_address() {
        let annotations = json!({"hearth.dev/address": "10.0.0.1:9092", "hearth.dev/epoch": "7"});
        assert_eq!(
            of_lease(&lease("controller-0", annotations.clone())),
            Some(Leader { holder: "controller-0".into(), address: "10.0.0.1:9092".into(), epoch: 7 })
        );
        assert_eq!(of_lease(&lease("", annotations)), None);
        assert_eq!(of_lease(&lease("controller-0", json!({}))), None);
        assert_eq!(of_lease(&Lease::default()), None);
    }
}
