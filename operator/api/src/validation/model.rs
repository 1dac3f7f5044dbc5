//! Checks of a ServedModel.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::{Errors, FieldError, is_dns_label, is_dns_subdomain};
use crate::model::{ContextError, KvType, Preference, Scheme, ServedModelSpec, Source};

/// What is wrong with a spec; empty if nothing is.
#[must_use]
pub fn served_model(spec: &ServedModelSpec) -> Vec<FieldError> {
    // Destructured so that a new field can't be forgotten here.
    let ServedModelSpec {
        source,
        served_name,
        quantization,
        context,
        sequences,
        kv_type: _,
        replicas,
        idle_after,
        priority,
        prefer: _,
        placement,
        load_timeout,
    } = spec;
    let mut errors = Errors::default();
    check_source(source, &mut errors);
    if let Some(name) = served_name {
        errors.check(
            is_served_name(name),
            "spec.servedName",
            name,
            "use letters, digits and . _ : / -, beginning and ending with a letter or digit, at most 128, such as llama3.1:8b",
        );
    }
    errors.check(
        is_quantization(quantization),
        "spec.quantization",
        quantization,
        "use Auto, or the exact name of a quantization such as Q4_K_M, Q8_0, BF16 or F16",
    );
    // The model's own context is only known with its file.
    if let Err(error) = context.bounds(u32::MAX) {
        let (field, value) = match error {
            ContextError::Zero { field } => (field, 0),
            ContextError::Crossed { min, .. } => ("min", min),
            ContextError::OverModel { field, value, .. } => (field, value),
        };
        let message = match error {
            ContextError::Zero { .. } => {
                "a context is at least 1 token; leave it out for the default".to_owned()
            }
            ContextError::Crossed { max, .. } => format!("above context.max, {max}; lower min or raise max"),
            ContextError::OverModel { own, .. } => format!("at most {own} tokens"),
        };
        errors.add(format!("spec.context.{field}"), value, message);
    }
    errors.check(
        (1..=1024).contains(sequences),
        "spec.sequences",
        sequences,
        "use 1 to 1024; 4 is the default",
    );
    errors.check((0..=64).contains(replicas), "spec.replicas", replicas, "use 0 to 64; 0 serves none");
    if let Some(idle_after) = idle_after {
        errors.check(
            idle_after.as_secs() > 0,
            "spec.idleAfter",
            idle_after,
            "must be longer than zero, such as 30m; leave it out to never unload",
        );
    }
    errors.check(
        (-100..=100).contains(priority),
        "spec.priority",
        priority,
        "use -100 to 100; 0 is the default",
    );
    if let Some(selector) = &placement.worker_selector {
        check_selector(selector, &mut errors);
    }
    for (at, device) in placement.devices.iter().enumerate() {
        errors.check(
            !device.trim().is_empty(),
            &format!("spec.placement.devices[{at}]"),
            device,
            "name a kind (Cuda, Metal, Vulkan, Cpu), a UUID or a part of a product's name, or remove the entry",
        );
    }
    errors.check((1..=16).contains(&placement.gpus), "spec.placement.gpus", placement.gpus, "use 1 to 16");
    errors.check(
        load_timeout.as_secs() > 0,
        "spec.loadTimeout",
        load_timeout,
        "must be longer than zero, such as 10m",
    );
    errors.0
}

/// Fields of a spec that are set and have no effect yet.
#[must_use]
pub fn without_effect(spec: &ServedModelSpec) -> Vec<&'static str> {
    [
        ("spec.kvType", spec.kv_type != KvType::F16),
        ("spec.prefer", spec.prefer != Preference::Speed),
        ("spec.placement.gpus", spec.placement.gpus > 1),
    ]
    .into_iter()
    .filter_map(|(field, set)| set.then_some(field))
    .collect()
}

fn check_source(source: &Source, errors: &mut Errors) {
    let Source { uri, sha256, secret_ref } = source;
    const URI: &str = "spec.source.uri";
    let rest = uri.split_once("://").map_or("", |(_, rest)| rest);
    let plain = !uri.chars().any(|c| c.is_whitespace() || c.is_control());
    errors.check(plain, URI, uri, "holds a space or a control character; write it as %20 or remove it");
    match source.scheme() {
        None => errors.add(
            URI,
            uri,
            "unknown scheme; use hf://owner/repo[/file.gguf][@revision], https://host/file.gguf, pvc://claim/path/file.gguf, oci:// or s3://",
        ),
        Some(Scheme::Hf) => {
            let path = rest.split_once('@').map_or(rest, |(path, _)| path);
            let segments: Vec<&str> = path.split('/').collect();
            errors.check(
                segments.len() >= 2 && segments.iter().all(|s| is_path_segment(s)),
                URI,
                uri,
                "use hf://owner/repo, with /file.gguf behind it to name one file and @revision to pin it",
            );
        }
        Some(Scheme::Pvc) => {
            let mut segments = rest.split('/');
            let claim = segments.next().unwrap_or_default();
            let path: Vec<&str> = segments.collect();
            errors.check(
                is_dns_subdomain(claim) && !path.is_empty() && path.iter().all(|s| is_path_segment(s)),
                URI,
                uri,
                "use pvc://claim/path/file.gguf: the name of a volume claim and a path in it, without . or .. in it",
            );
        }
        Some(Scheme::Https) => {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            errors.check(!host.is_empty(), URI, uri, "name a host and a path, such as https://host/file.gguf");
            errors.check(
                !host.contains('@'),
                URI,
                "https://…@…",
                "holds a user name or password; put a token in a Secret and name it in spec.source.secretRef",
            );
        }
        Some(Scheme::Oci | Scheme::S3) => {
            errors.check(rest.contains('/'), URI, uri, "name a registry or bucket, and something in it");
        }
    }
    if let Some(sha256) = sha256 {
        let is_digest = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        errors.check(
            is_digest,
            "spec.source.sha256",
            sha256,
            "must be 64 lower-case hexadecimal digits, as sha256sum prints them",
        );
    }
    if let Some(secret) = secret_ref {
        errors.check(
            is_dns_subdomain(&secret.name),
            "spec.source.secretRef.name",
            &secret.name,
            "must be the name of a Secret in the same namespace",
        );
    }
}

fn is_path_segment(segment: &str) -> bool {
    !segment.is_empty() && segment != "." && segment != ".." && !segment.contains('\\')
}

fn is_served_name(name: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    name.len() <= 128
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "._:/-".contains(c))
        && edge(name.chars().next())
        && edge(name.chars().next_back())
}

fn is_quantization(name: &str) -> bool {
    if matches!(name, "Auto" | "F32" | "F16" | "BF16" | "MXFP4" | "NVFP4" | "TQ1_0" | "TQ2_0") {
        return true;
    }
    let Some((bits, mix)) = name.split_once('_') else { return false };
    match bits.as_bytes() {
        [b'Q', b'2'..=b'8'] => matches!(mix, "0" | "1" | "K" | "K_S" | "K_M" | "K_L" | "K_XL"),
        [b'I', b'Q', b'1'..=b'4'] => matches!(mix, "XXS" | "XS" | "S" | "M" | "NL" | "XL"),
        _ => false,
    }
}

fn check_selector(selector: &LabelSelector, errors: &mut Errors) {
    const FIELD: &str = "spec.placement.workerSelector";
    for (at, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let count = requirement.values.as_ref().map_or(0, Vec::len);
        let field = format!("{FIELD}.matchExpressions[{at}]");
        match requirement.operator.as_str() {
            "In" | "NotIn" => errors.check(
                count > 0,
                &format!("{field}.values"),
                "",
                "In and NotIn need at least one value to compare with",
            ),
            "Exists" | "DoesNotExist" => errors.check(
                count == 0,
                &format!("{field}.values"),
                requirement.values.iter().flatten().cloned().collect::<Vec<_>>().join(","),
                "Exists and DoesNotExist take no values; remove them",
            ),
            other => errors.add(format!("{field}.operator"), other, "use In, NotIn, Exists or DoesNotExist"),
        }
    }
    let keys = selector.match_expressions.iter().flatten().map(|r| &r.key);
    for key in keys.chain(selector.match_labels.iter().flatten().map(|(key, _)| key)) {
        let (prefix, name) = key.split_once('/').map_or((None, key.as_str()), |(p, n)| (Some(p), n));
        let is_name = !name.is_empty()
            && name.len() <= 63
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        errors.check(
            is_name && prefix.is_none_or(|p| p.split('.').all(is_dns_label)),
            FIELD,
            key,
            "is no label; use a name such as room, or prefix/name",
        );
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;
    use crate::model::{Context, SecretReference};

    fn only(change: impl FnOnce(&mut ServedModelSpec)) -> FieldError {
        let mut spec = ServedModelSpec::new("hf://owner/repo");
        change(&mut spec);
        let mut errors = served_model(&spec);
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0)
    }

    #[test]
    fn a_plain_spec_is_fine() {
        for uri in [
            "hf://HuggingFaceTB/SmolLM2-135M-Instruct-GGUF",
            "hf://owner/repo/sub/file.gguf@v1.0",
            "https://host:8443/a/b.gguf?download=1",
            "pvc://models/smol/SmolLM2.gguf",
            "oci://ghcr.io/owner/model:tag",
            "s3://bucket/key",
        ] {
            assert_eq!(served_model(&ServedModelSpec::new(uri)), [], "{uri}");
        }
    }

    #[test]
    fn names_field_value_and_remedy_of_each_mistake() {
        for (uri, remedy) in [
            ("ftp://host/file", "https://"),
            ("file.gguf", "hf://owner/repo"),
            ("hf://owner", "hf://owner/repo"),
            ("hf://owner//x", "hf://owner/repo"),
            ("pvc://models", "pvc://claim/path"),
            ("pvc://models/../../etc/passwd", ".."),
            ("pvc://Models/x", "pvc://claim/path"),
            ("https:///x", "host"),
            ("hf://owner/re po", "%20"),
            ("s3://bucket", "bucket"),
        ] {
            let error = only(|spec| spec.source.uri = uri.to_owned());
            assert_eq!((error.field.as_str(), error.value.as_str()), ("spec.source.uri", uri));
            assert!(error.message.contains(remedy), "{error}");
        }
        let digest = |text: &str| only(|spec| spec.source.sha256 = Some(text.to_owned())).field;
        assert_eq!(digest(&"A".repeat(64)), "spec.source.sha256");
        assert_eq!(digest(&"a".repeat(63)), "spec.source.sha256");
        assert_eq!(only(|s| s.context = Context { min: Some(0), max: None }).field, "spec.context.min");
        assert_eq!(only(|s| s.context = Context { min: None, max: Some(0) }).field, "spec.context.max");
        let crossed = only(|s| s.context = Context { min: Some(9), max: Some(8) });
        assert_eq!(
            crossed.to_string(),
            "spec.context.min: \"9\": above context.max, 8; lower min or raise max"
        );
        assert_eq!(only(|s| s.replicas = -1).field, "spec.replicas");
        assert_eq!(only(|s| s.quantization = "Q9_X".to_owned()).field, "spec.quantization");
        assert_eq!(only(|s| s.priority = 101).field, "spec.priority");
        assert_eq!(only(|s| s.sequences = 0).field, "spec.sequences");
        assert_eq!(only(|s| s.served_name = Some("-x".to_owned())).field, "spec.servedName");
        assert_eq!(only(|s| s.load_timeout = crate::Duration::from_secs(0)).field, "spec.loadTimeout");
        assert_eq!(only(|s| s.placement.gpus = 0).field, "spec.placement.gpus");
        assert_eq!(only(|s| s.placement.devices = vec![" ".to_owned()]).field, "spec.placement.devices[0]");
        let secret = only(|s| s.source.secret_ref = Some(SecretReference { name: "A B".to_owned() }));
        assert_eq!(secret.field, "spec.source.secretRef.name");
    }

    #[test]
    fn a_password_in_a_uri_is_refused_and_not_repeated() {
        let error = only(|s| s.source.uri = "https://me:secret@host/x".to_owned());
        assert!(!error.to_string().contains("me:secret"), "{error}");
    }

    #[test]
    fn a_selector_is_checked_before_it_is_evaluated() {
        let requirement = |operator: &str, values: &[&str]| LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "room".to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            }]),
            match_labels: None,
        };
        let field = |selector| only(|s| s.placement.worker_selector = Some(selector)).field;
        assert!(field(requirement("In", &[])).ends_with("matchExpressions[0].values"));
        assert!(field(requirement("Exists", &["x"])).ends_with("matchExpressions[0].values"));
        assert!(field(requirement("Like", &["x"])).ends_with("matchExpressions[0].operator"));
        let labels = LabelSelector {
            match_labels: Some([("a b".to_owned(), String::new())].into()),
            match_expressions: None,
        };
        assert_eq!(field(labels), "spec.placement.workerSelector");
    }

    #[test]
    fn says_what_has_no_effect() {
        let mut spec = ServedModelSpec::new("hf://a/b");
        assert!(without_effect(&spec).is_empty());
        spec.prefer = Preference::Quiet;
        spec.placement.gpus = 2;
        assert_eq!(without_effect(&spec), ["spec.prefer", "spec.placement.gpus"]);
    }
}
