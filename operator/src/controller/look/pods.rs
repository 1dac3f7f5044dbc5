//! What Pods request of an extended resource.

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// How many of `resource` the scheduler counts for a Pod: the containers' sum,
/// or what an init container needs at once if that is more. Sidecars, which
/// are init containers that go on, count with the containers.
pub fn requested(pod: &Pod, resource: &str) -> u32 {
    let Some(spec) = &pod.spec else { return 0 };
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        // A limit is the request of an extended resource.
        let quantity = resources
            .and_then(|r| r.limits.as_ref()?.get(resource))
            .or_else(|| resources.and_then(|r| r.requests.as_ref()?.get(resource)));
        quantity.map_or(0, count)
    };
    // Whoever may make a Pod names these numbers, so that no sum of them may fail.
    let mut sidecars: u32 = 0;
    let mut at_start: u32 = 0;
    for container in spec.init_containers.iter().flatten() {
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = of(container).saturating_add(sidecars);
            at_start = at_start.max(sidecars);
        } else {
            at_start = at_start.max(of(container).saturating_add(sidecars));
        }
    }
    let running = spec.containers.iter().map(of).fold(0, u32::saturating_add);
    running.saturating_add(sidecars).max(at_start)
}

/// The whole number in a quantity of an extended resource; 0 if it is none.
pub fn count(quantity: &Quantity) -> u32 {
    let text = quantity.0.as_str();
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => (text, 1),
    };
    digits.parse::<u32>().map_or(0, |n| n.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"spec": spec})).unwrap()
    }

    #[test]
    fn containers_add_up_and_init_containers_count_at_their_peak() {
        let gpus = |n: u32| json!({"limits": {"nvidia.com/gpu": n.to_string()}});
        let one = |n, resources| json!({"name": n, "resources": resources});
        let sum = pod(json!({"containers": [one("a", gpus(1)), one("b", gpus(2))]}));
        assert_eq!(requested(&sum, "nvidia.com/gpu"), 3);
        assert_eq!(requested(&sum, "amd.com/gpu"), 0);
        let peak = pod(json!({"containers": [one("a", gpus(1))], "initContainers": [one("i", gpus(4))]}));
        assert_eq!(requested(&peak, "nvidia.com/gpu"), 4);
        let mut sidecar = one("s", gpus(2));
        sidecar["restartPolicy"] = json!("Always");
        let with_sidecar = pod(json!({"containers": [one("a", gpus(1))], "initContainers": [sidecar]}));
        assert_eq!(requested(&with_sidecar, "nvidia.com/gpu"), 3);
        assert_eq!(requested(&pod(json!({"containers": [one("a", json!({}))]})), "nvidia.com/gpu"), 0);
    }

    #[test]
    fn no_number_that_a_pod_asks_for_is_too_large_to_be_counted() {
        let most = |name: &str, policy: Option<&str>| {
            json!({"name": name, "restartPolicy": policy,
                "resources": {"limits": {"nvidia.com/gpu": u32::MAX.to_string()}}})
        };
        let greedy = pod(json!({
            "containers": [most("a", None), most("b", None)],
            "initContainers": [most("s", Some("Always")), most("t", Some("Always")), most("i", None)],
        }));
        assert_eq!(requested(&greedy, "nvidia.com/gpu"), u32::MAX);
    }

    #[test]
    fn quantities_are_whole_numbers() {
        for (text, n) in [("2", 2), ("1k", 1000), ("", 0), ("500m", 0), ("-1", 0)] {
            assert_eq!(count(&Quantity(text.to_owned())), n, "{text}");
        }
    }
}
