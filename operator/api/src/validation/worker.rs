//! Checks of a Worker.

use super::{Errors, FieldError, is_dns_label, is_dns_subdomain};
use crate::worker::{Gpus, Store, WorkerKind, WorkerSpec};

/// What is wrong with a spec; empty if nothing is.
#[must_use]
pub fn worker(spec: &WorkerSpec) -> Vec<FieldError> {
    // Destructured so that a new field can't be forgotten here.
    let WorkerSpec {
        kind,
        node_name,
        gpus,
        resource_name,
        release: _,
        closed: _,
        hours,
        reserve: _,
        allowed_namespaces,
        store: Store { size, storage_class },
    } = spec;
    let mut errors = Errors::default();
    match (kind, node_name) {
        (WorkerKind::Pod, None) => {
            errors.add("spec.nodeName", "", "a Worker of kind Pod needs the node that it serves on; add it");
        }
        (WorkerKind::Pod, Some(node)) => errors.check(
            is_dns_subdomain(node),
            "spec.nodeName",
            node,
            "must be a node's name, as kubectl get nodes prints it",
        ),
        (WorkerKind::Joined, Some(node)) => {
            errors.add("spec.nodeName", node, "a Worker of kind Joined is no node of the cluster; remove it");
        }
        (WorkerKind::Joined, None) => {}
    }
    if let Gpus::Count(count) = gpus {
        errors.check(*count <= 64, "spec.gpus", count, "use All, or a number from 0 to 64");
    }
    let is_resource = resource_name.split_once('/').is_some_and(|(domain, name)| {
        is_dns_subdomain(domain)
            && !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    });
    errors.check(
        is_resource,
        "spec.resourceName",
        resource_name,
        "must be an extended resource such as nvidia.com/gpu",
    );
    for (at, hours) in hours.iter().enumerate() {
        for (field, time) in [("open", &hours.open), ("close", &hours.close)] {
            errors.check(
                is_time_of_day(time),
                &format!("spec.hours[{at}].{field}"),
                time,
                "must be a time of day from 00:00 to 23:59, such as 08:00",
            );
        }
    }
    if *kind == WorkerKind::Joined && allowed_namespaces.is_none() {
        errors.add(
            "spec.allowedNamespaces",
            "",
            "a Worker of kind Joined must say whose models it may see; list namespaces, or [\"*\"] for all",
        );
    }
    for (at, namespace) in allowed_namespaces.iter().flatten().enumerate() {
        errors.check(
            namespace == "*" || is_dns_label(namespace),
            &format!("spec.allowedNamespaces[{at}]"),
            namespace,
            "must be a namespace's name, or * for all",
        );
    }
    errors.check(size.bytes() > 0, "spec.store.size", size, "must be more than zero, such as 200Gi");
    if let Some(class) = storage_class {
        errors.check(
            is_dns_subdomain(class),
            "spec.store.storageClass",
            class,
            "must be a StorageClass, as kubectl get storageclass prints it; leave it out for the default",
        );
    }
    errors.0
}

/// Fields of a spec that are set and have no effect yet.
#[must_use]
pub fn worker_without_effect(spec: &WorkerSpec) -> Vec<&'static str> {
    if spec.hours.is_empty() { Vec::new() } else { vec!["spec.hours"] }
}

fn is_time_of_day(text: &str) -> bool {
    matches!(
        text.as_bytes(),
        [b'0'..=b'1', b'0'..=b'9', b':', b'0'..=b'5', b'0'..=b'9']
            | [b'2', b'0'..=b'3', b':', b'0'..=b'5', b'0'..=b'9']
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Hours;

    fn only(change: impl FnOnce(&mut WorkerSpec)) -> String {
        let mut spec = WorkerSpec::pod("box");
        change(&mut spec);
        let errors = worker(&spec);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].field.clone()
    }

    #[test]
    fn plain_specs_are_fine() {
        assert_eq!(worker(&WorkerSpec::pod("box.lan")), []);
        assert_eq!(worker(&WorkerSpec::joined(vec!["*".to_owned(), "chat".to_owned()])), []);
    }

    #[test]
    fn names_the_field_of_each_mistake() {
        assert_eq!(only(|s| s.node_name = None), "spec.nodeName");
        assert_eq!(only(|s| s.node_name = Some("Box".to_owned())), "spec.nodeName");
        assert_eq!(only(|s| s.gpus = Gpus::Count(65)), "spec.gpus");
        assert_eq!(only(|s| s.resource_name = "gpu".to_owned()), "spec.resourceName");
        assert_eq!(only(|s| s.allowed_namespaces = Some(vec!["A".to_owned()])), "spec.allowedNamespaces[0]");
        assert_eq!(only(|s| s.store.size = 0.into()), "spec.store.size");
        assert_eq!(only(|s| s.store.storage_class = Some(String::new())), "spec.store.storageClass");
        let hours =
            Hours { open: "24:00".to_owned(), close: "08:00".to_owned(), time_zone: "UTC".to_owned() };
        assert_eq!(only(|s| s.hours = vec![hours]), "spec.hours[0].open");
        let mut joined = WorkerSpec::joined(Vec::new());
        joined.allowed_namespaces = None;
        joined.node_name = Some("box".to_owned());
        let fields: Vec<String> = worker(&joined).into_iter().map(|e| e.field).collect();
        assert_eq!(fields, ["spec.nodeName", "spec.allowedNamespaces"]);
    }

    #[test]
    fn who_may_place_models() {
        let pod = WorkerSpec::pod("box");
        assert!(pod.allows("any"));
        let joined = WorkerSpec::joined(vec!["chat".to_owned()]);
        assert!(joined.allows("chat") && !joined.allows("other"));
    }
}
