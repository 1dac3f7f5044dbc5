//! The validation rules, evaluated as the API server does: defaults first, then
//! CEL. What it checks by the schema alone (enums, patterns, bounds) is tested
//! on a real API server.

use hearth_api::{ServedModel, Worker, crd};
use kube_cel::Validator;
use serde_json::{Value, json};

fn schema(kind: &str) -> Value {
    let crd = crd::all().into_iter().find(|c| c.spec.names.kind == kind).expect("a CRD of that kind");
    let version = &crd.spec.versions[0];
    serde_json::to_value(version.schema.as_ref().and_then(|s| s.open_api_v3_schema.as_ref())).expect("JSON")
}

/// `path: message` of each rule that fails.
fn failures(kind: &str, spec: &Value, old: Option<&Value>) -> Vec<String> {
    let schema = schema(kind);
    let object = |spec: &Value| {
        let object = json!({"apiVersion": "hearth.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        kube_cel::apply_defaults(&schema, &object)
    };
    match Validator::new().validate(&schema, &object(spec), old.map(object).as_ref()) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.iter().map(|e| format!("{}: {}", e.field_path, e.message)).collect(),
    }
}

fn model(change: Value) -> Vec<String> {
    failures("ServedModel", &merged(json!({"source": {"uri": "hf://owner/repo"}}), change), None)
}

fn merged(mut base: Value, change: Value) -> Value {
    match (&mut base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                let before = base.remove(&key).unwrap_or(Value::Null);
                base.insert(key, merged(before, value));
            }
        }
        (base, change) => *base = change,
    }
    base
}

#[track_caller]
fn fails(failures: Vec<String>, field: &str, remedy: &str) {
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].starts_with(&format!("{field}: ")) && failures[0].contains(remedy), "{failures:?}");
}

#[test]
fn good_models_pass() {
    for change in [
        json!({}),
        json!({"servedName": "llama3.1:8b", "quantization": "Q4_K_M", "replicas": 0, "priority": -100}),
        json!({"context": {"min": 8192, "max": 65536}, "idleAfter": "30m", "loadTimeout": "1h30m"}),
        json!({"context": {"min": 8192}}),
        json!({"source": {"uri": "pvc://models/smol.gguf", "sha256": "0123456789abcdef".repeat(4)}}),
        json!({"placement": {"devices": ["Cuda", "RTX 3090"], "gpus": 2, "joined": "Deny"}}),
    ] {
        assert_eq!(model(change.clone()), [""; 0], "{change}");
    }
    for quantization in [
        "Auto", "F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q2_K", "Q3_K_L", "Q5_K_S", "Q4_K_XL",
        "IQ4_NL", "IQ2_XXS",
    ] {
        assert_eq!(model(json!({"quantization": quantization})), [""; 0], "{quantization}");
    }
}

#[test]
fn bad_models_fail_with_field_and_remedy() {
    fails(model(json!({"source": {"uri": "ftp://host/x"}})), "spec.source.uri", "hf://owner/repo");
    fails(model(json!({"source": {"uri": "https://"}})), "spec.source.uri", "https://");
    fails(model(json!({"source": {"sha256": "A".repeat(64)}})), "spec.source.sha256", "lower-case");
    fails(model(json!({"source": {"sha256": "a".repeat(63)}})), "spec.source.sha256", "64");
    fails(model(json!({"context": {"min": 0}})), "spec.context.min", "at least 1");
    fails(model(json!({"context": {"max": 0}})), "spec.context.max", "at least 1");
    fails(model(json!({"context": {"min": 9, "max": 8}})), "spec.context", "raise max");
    fails(model(json!({"replicas": -1})), "spec.replicas", "use 0");
    fails(model(json!({"sequences": 0})), "spec.sequences", "at least 1");
    fails(model(json!({"quantization": "Q9_K"})), "spec.quantization", "Auto");
    fails(model(json!({"quantization": "q4_k_m"})), "spec.quantization", "Auto");
    fails(model(json!({"priority": 101})), "spec.priority", "-100 to 100");
    fails(model(json!({"priority": -101})), "spec.priority", "-100 to 100");
    fails(model(json!({"servedName": "a b"})), "spec.servedName", "letters");
    fails(model(json!({"servedName": "/a"})), "spec.servedName", "begins");
    fails(model(json!({"idleAfter": "0s"})), "spec.idleAfter", "longer than zero");
    fails(model(json!({"idleAfter": ""})), "spec.idleAfter", "longer than zero");
    fails(model(json!({"loadTimeout": "0h0m"})), "spec.loadTimeout", "longer than zero");
    fails(model(json!({"placement": {"gpus": 0}})), "spec.placement.gpus", "at least 1");
}

#[test]
fn workers() {
    let worker = |spec: Value| failures("Worker", &spec, None);
    assert_eq!(worker(json!({"kind": "Pod", "nodeName": "box"})), [""; 0]);
    assert_eq!(worker(json!({"kind": "Joined", "allowedNamespaces": ["*"]})), [""; 0]);
    fails(worker(json!({"kind": "Pod"})), "spec", "needs nodeName");
    fails(
        worker(json!({"kind": "Joined", "allowedNamespaces": ["*"], "nodeName": "box"})),
        "spec",
        "remove nodeName",
    );
    fails(worker(json!({"kind": "Joined"})), "spec", "allowedNamespaces");
    let pod = |change: Value| worker(merged(json!({"kind": "Pod", "nodeName": "box"}), change));
    assert_eq!(pod(json!({"release": {"policy": "Never", "after": "0s"}, "gpus": 2})), [""; 0]);
    fails(pod(json!({"resourceName": "gpu"})), "spec.resourceName", "nvidia.com/gpu");
    fails(pod(json!({"release": {"after": ""}})), "spec.release.after", "30m");
    let hours = |open: &str| pod(json!({"hours": [{"open": open, "close": "23:00"}]}));
    assert_eq!(hours("08:00"), [""; 0]);
    fails(hours("8:00"), "spec.hours[0].open", "08:00");
    fails(hours("24:00"), "spec.hours[0].open", "23:59");
}

#[test]
fn kind_and_node_stay() {
    let update = |old: Value, new: Value| failures("Worker", &new, Some(&old));
    let pod = json!({"kind": "Pod", "nodeName": "box"});
    assert_eq!(update(pod.clone(), json!({"kind": "Pod", "nodeName": "box", "closed": true})), [""; 0]);
    fails(update(pod.clone(), json!({"kind": "Pod", "nodeName": "attic"})), "spec", "delete the Worker");
    let joined = json!({"kind": "Joined", "allowedNamespaces": ["*"]});
    let failures = update(pod, joined);
    assert!(failures.iter().any(|f| f.starts_with("spec.kind: ") && f.contains("anew")), "{failures:?}");
    assert!(failures.iter().any(|f| f.starts_with("spec: nodeName can't be changed")), "{failures:?}");
}

/// What the API server fills in is what a reader without it assumes.
#[test]
fn defaults_of_the_schema_are_defaults_of_the_types() {
    let object = |kind: &str, spec: Value| json!({"apiVersion": "hearth.dev/v1alpha1", "kind": kind, "metadata": {"name": "x"}, "spec": spec});
    let bare = object("ServedModel", json!({"source": {"uri": "hf://a/b"}}));
    let filled = kube_cel::apply_defaults(&schema("ServedModel"), &bare);
    let parse = |v: Value| serde_json::from_value::<ServedModel>(v).expect("a ServedModel");
    assert_eq!(parse(filled.clone()), parse(bare));
    assert_eq!(filled["spec"]["quantization"], "Auto");
    assert_eq!(filled["spec"]["placement"]["gpus"], 1);

    let bare = object("Worker", json!({"kind": "Pod", "nodeName": "box", "release": {}, "store": {}}));
    let filled = kube_cel::apply_defaults(&schema("Worker"), &bare);
    let parse = |v: Value| serde_json::from_value::<Worker>(v).expect("a Worker");
    assert_eq!(parse(filled.clone()), parse(bare));
    assert_eq!(filled["spec"]["reserve"], "1Gi");
    assert_eq!(filled["spec"]["release"]["after"], "30m");
}
