//! Bounds: what the CRDs take. The API server refuses a status as a whole when
//! one text in it is too long, and then nothing is told of the model and
//! nothing new is ordered from its machines. So what was said elsewhere (by a
//! file, a source, an engine, a driver) is cut to fit.

use hearth_api::model::{
    Footprint, Progress, RejectedGroup, ReplicaStatus, Resolved, ServedModelStatus, Summary,
};
use hearth_api::worker::{Applied, DeviceStatus, StoreStatus, WorkerStatus, WorkerSummary};

/// Ends a text that was cut.
const ELLIPSIS: &str = "…";
/// The largest integer of the schemas, which know no unsigned ones.
const LARGEST: u64 = i64::MAX.cast_unsigned();
/// The longest reason that `status` and Events have in common.
const LONGEST_REASON: usize = 64;

/// Cuts a text to `longest` bytes, and so to at most as many characters, which
/// is what the API server counts.
pub(super) fn text(text: &mut String, longest: usize) {
    if text.len() > longest {
        text.truncate(text.floor_char_boundary(longest.saturating_sub(ELLIPSIS.len())));
        text.push_str(ELLIPSIS);
    }
}

/// A reason that something else gave, if a condition can carry it: one
/// CamelCase word.
pub(super) fn reason(told: &str) -> Option<&str> {
    let is_word = told.starts_with(|first: char| first.is_ascii_uppercase())
        && told.chars().all(|letter| letter.is_ascii_alphanumeric());
    (is_word && told.len() <= LONGEST_REASON).then_some(told)
}

/// Cuts everything in a ServedModel's status to what its CRD takes.
pub(super) fn model(status: &mut ServedModelStatus) {
    let ServedModelStatus {
        observed_generation: _,
        // Bounded where they are set.
        conditions: _,
        state: _,
        resolved,
        footprint,
        replicas,
        rejected,
        ready_replicas: _,
        selector,
        summary,
    } = status;
    if let Some(Resolved {
        uri,
        url,
        revision,
        digest,
        size_bytes,
        architecture,
        quantization,
        context: _,
        model_context: _,
    }) = resolved
    {
        text(uri, 2048);
        text(url, 2048);
        optional(revision, 256);
        optional(digest, 128);
        size_bytes.iter_mut().for_each(number);
        optional(architecture, 128);
        optional(quantization, 64);
    }
    footprint.iter_mut().for_each(bytes);
    replicas.truncate(128);
    replicas.iter_mut().for_each(replica);
    rejected.truncate(8);
    for RejectedGroup { reason, count: _, best, message } in rejected {
        text(reason, LONGEST_REASON);
        text(best, 512);
        text(message, 1024);
    }
    optional(selector, 512);
    if let Some(Summary { model, replicas, worker, memory }) = summary {
        text(model, 128);
        text(replicas, 16);
        text(worker, 512);
        text(memory, 32);
    }
}

fn replica(status: &mut ReplicaStatus) {
    let ReplicaStatus {
        ordinal: _,
        worker,
        device,
        context: _,
        sequences: _,
        kv_type: _,
        file,
        footprint,
        epoch,
        generation,
        state: _,
        replaces: _,
        progress,
        reason,
        message,
    } = status;
    text(worker, 253);
    text(device, 128);
    text(file, 2560);
    bytes(footprint);
    number(epoch);
    number(generation);
    if let Some(Progress { percent: _, done_bytes, total_bytes, eta: _ }) = progress {
        number(done_bytes);
        number(total_bytes);
    }
    optional(reason, LONGEST_REASON);
    optional(message, 1024);
}

/// Cuts everything in a Worker's status to what its CRD takes.
pub(super) fn worker(status: &mut WorkerStatus) {
    let WorkerStatus {
        observed_generation: _,
        // Bounded where they are set.
        conditions: _,
        state: _,
        version,
        pod_name,
        address,
        certificate_expiry: _,
        devices,
        store,
        applied,
        models: _,
        idle_since: _,
        summary,
    } = status;
    optional(version, 64);
    optional(pod_name, 253);
    optional(address, 300);
    devices.truncate(64);
    for DeviceStatus {
        uuid,
        kind: _,
        product,
        total,
        used_by_others,
        free,
        measured_at: _,
        healthy: _,
        message,
        weights: _,
    } in devices
    {
        text(uuid, 128);
        text(product, 128);
        [total, used_by_others, free].into_iter().for_each(number);
        optional(message, 1024);
    }
    if let Some(StoreStatus { capacity, used, unused }) = store {
        [capacity, used, unused].into_iter().for_each(number);
    }
    if let Some(Applied { epoch, generation }) = applied {
        [epoch, generation].into_iter().for_each(number);
    }
    if let Some(WorkerSummary { device, memory, free }) = summary {
        text(device, 256);
        text(memory, 32);
        text(free, 32);
    }
}

fn optional(told: &mut Option<String>, longest: usize) {
    if let Some(told) = told {
        text(told, longest);
    }
}

fn bytes(footprint: &mut Footprint) {
    let Footprint { weights, kv, activations, overhead } = footprint;
    [weights, kv, activations, overhead].into_iter().for_each(number);
}

fn number(value: &mut u64) {
    *value = (*value).min(LARGEST);
}

#[cfg(test)]
mod tests {
    use hearth_api::condition::{Update, find, set_condition};
    use hearth_api::model::{KvType, ReplicaState};
    use hearth_api::worker::DeviceKind;
    use k8s_openapi::jiff::Timestamp;
    use serde_json::Value;

    use super::*;

    /// Longer than any text may be, of characters that a cut could split.
    fn long() -> String {
        "é".repeat(40_000)
    }

    fn schema(kind: &str) -> Value {
        let crd = hearth_api::crd::all().into_iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let crd = serde_json::to_value(crd).unwrap();
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"].clone()
    }

    /// Checks `value` against `schema` and gives the paths of its texts.
    fn check(path: &str, value: &Value, schema: &Value, texts: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let schema = &schema["properties"][name];
                    assert!(schema.is_object(), "{path}.{name} is in no schema");
                    check(&format!("{path}.{name}"), value, schema, texts);
                }
            }
            Value::Array(items) => {
                let most = schema["maxItems"].as_u64().expect(path);
                assert!(items.len() as u64 <= most, "{path} has {} items of at most {most}", items.len());
                items.iter().for_each(|item| check(&format!("{path}[]"), item, &schema["items"], texts));
            }
            Value::String(text) => {
                texts.push(path.to_owned());
                if let Some(longest) = schema["maxLength"].as_u64() {
                    let length = text.chars().count() as u64;
                    assert!(length <= longest, "{path} has {length} characters of at most {longest}");
                } else {
                    let is_bounded = ["enum", "format", "pattern"].iter().any(|key| !schema[key].is_null());
                    assert!(is_bounded, "{path} has no bound: {schema}");
                }
            }
            Value::Number(number) => assert!(number.as_i64().is_some(), "{path} is {number}"),
            Value::Bool(_) | Value::Null => {}
        }
    }

    #[test]
    fn whatever_a_models_status_is_filled_with_its_crd_takes_it() {
        let footprint =
            Footprint { weights: u64::MAX, kv: u64::MAX, activations: u64::MAX, overhead: u64::MAX };
        let replica = ReplicaStatus {
            ordinal: u32::MAX,
            worker: long(),
            device: long(),
            context: u32::MAX,
            sequences: u32::MAX,
            kv_type: KvType::F16,
            file: long(),
            footprint,
            epoch: u64::MAX,
            generation: u64::MAX,
            state: ReplicaState::Failed,
            replaces: Some(u32::MAX),
            progress: Some(Progress {
                percent: 100,
                done_bytes: u64::MAX,
                total_bytes: u64::MAX,
                eta: Some(super::super::round::eta(std::time::Duration::MAX)),
            }),
            reason: Some(long()),
            message: Some(long()),
        };
        let group = RejectedGroup { reason: long(), count: u32::MAX, best: long(), message: long() };
        let mut status = ServedModelStatus {
            observed_generation: Some(1),
            conditions: Vec::new(),
            state: Some(hearth_api::model::ModelState::Failed),
            resolved: Some(Resolved {
                uri: long(),
                url: long(),
                revision: Some(long()),
                digest: Some(long()),
                size_bytes: Some(u64::MAX),
                architecture: Some(long()),
                quantization: Some(long()),
                context: Some(1),
                model_context: Some(1),
            }),
            footprint: Some(footprint),
            replicas: vec![replica; 200],
            rejected: vec![group; 100],
            ready_replicas: i32::MAX,
            selector: Some(long()),
            summary: Some(Summary { model: long(), replicas: long(), worker: long(), memory: long() }),
        };
        let update =
            Update { type_: "Ready", status: false.into(), reason: "LoadFailed".to_owned(), message: long() };
        set_condition(&mut status.conditions, update, Some(1), Timestamp::UNIX_EPOCH);
        model(&mut status);
        let mut texts = Vec::new();
        check("status", &serde_json::to_value(&status).unwrap(), &schema("ServedModel"), &mut texts);
        for path in ["status.rejected[].message", "status.replicas[].message", "status.summary.worker"] {
            assert!(texts.iter().any(|text| text == path), "{path} was not filled");
        }
        let message = status.replicas[0].message.as_deref().unwrap();
        assert!(message.len() > 1000 && message.ends_with('…'));
    }

    #[test]
    fn whatever_a_workers_status_is_filled_with_its_crd_takes_it() {
        let device = DeviceStatus {
            uuid: long(),
            kind: DeviceKind::Cuda,
            product: long(),
            total: u64::MAX,
            used_by_others: u64::MAX,
            free: u64::MAX,
            measured_at: None,
            healthy: false,
            message: Some(long()),
            weights: None,
        };
        let mut status = WorkerStatus {
            version: Some(long()),
            pod_name: Some(long()),
            address: Some(long()),
            devices: vec![device; 100],
            store: Some(StoreStatus { capacity: u64::MAX, used: u64::MAX, unused: u64::MAX }),
            applied: Some(Applied { epoch: u64::MAX, generation: u64::MAX }),
            summary: Some(WorkerSummary { device: long(), memory: long(), free: long() }),
            ..WorkerStatus::default()
        };
        let update = Update {
            type_: "Healthy",
            status: false.into(),
            reason: "DeviceFailed".to_owned(),
            message: long(),
        };
        set_condition(&mut status.conditions, update, Some(1), Timestamp::UNIX_EPOCH);
        worker(&mut status);
        check("status", &serde_json::to_value(&status).unwrap(), &schema("Worker"), &mut Vec::new());
        assert!(find(&status.conditions, "Healthy").is_some());
    }

    #[test]
    fn a_cut_is_between_characters_and_shows() {
        let cut = |told: &str, longest| {
            let mut told = told.to_owned();
            text(&mut told, longest);
            told
        };
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "lo…");
        assert_eq!(cut("ééé", 5), "é…");
    }

    #[test]
    fn a_reason_is_one_word_or_none() {
        assert_eq!(reason("DigestMismatch"), Some("DigestMismatch"));
        for bad in ["", "out of memory", "lower", "Ünicode", "A-B", "9Lives"] {
            assert_eq!(reason(bad), None, "{bad}");
        }
        assert_eq!(reason(&"A".repeat(65)), None);
    }
}
