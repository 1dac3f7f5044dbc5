//! Reads facts out of Kubernetes objects.

use hearth_api::{
    ServedModel, Worker,
    condition::model::{ACCEPTED, PLACED, READY, RESOLVED},
    model::{ModelState, ReplicaState, ReplicaStatus, ServedModelStatus, replica_id},
    worker::WorkerState,
};
use kube::ResourceExt as _;

use super::facts::{Fault, ModelFact, ModelKey, Progress, ReplicaFact, Standing, WorkerFact};

/// What a ServedModel says.
pub fn model(object: &ServedModel) -> ModelFact {
    let status = object.status.clone().unwrap_or_default();
    let resolved = status.resolved.clone().unwrap_or_default();
    ModelFact {
        key: model_key(object),
        created: object.created(),
        served_name: object.served_name().to_owned(),
        context_tokens: resolved.context.unwrap_or(0),
        quantization: resolved.quantization.unwrap_or_default(),
        standing: standing(object, &status),
        ready: status
            .replicas
            .iter()
            .filter(|replica| replica.state == ReplicaState::Ready)
            .map(|replica| ReplicaFact {
                id: replica_id(object.metadata.uid.as_deref().unwrap_or_default(), replica.ordinal),
                worker: replica.worker.clone(),
                device: replica.device.clone(),
                sequences: replica.sequences,
            })
            .collect(),
    }
}

/// Which ServedModel an object is.
pub fn model_key(object: &ServedModel) -> ModelKey {
    ModelKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// What a Worker says.
pub fn worker(object: &Worker) -> WorkerFact {
    let address = object.status.as_ref().and_then(|status| match status.state? {
        WorkerState::Ready => status.address.clone(),
        WorkerState::Parked | WorkerState::Starting | WorkerState::Draining | WorkerState::Gone => None,
    });
    WorkerFact { name: object.name_any(), address }
}

fn standing(object: &ServedModel, status: &ServedModelStatus) -> Standing {
    // What was found of an older spec says nothing of this one.
    if status.observed_generation < object.metadata.generation {
        return pending("the controller has not looked at this version of the model yet");
    }
    match status.state {
        None | Some(ModelState::Pending) => pending("the controller has not looked at the model yet"),
        // Also while a source that may come back does not answer: the condition says so.
        Some(ModelState::Resolving) => {
            pending(&said(status, &[RESOLVED], "the header of the model's file is being read"))
        }
        Some(ModelState::Starting) => loading(status, "the machine for the model is starting"),
        Some(ModelState::Fetching) => loading(status, "the model's file is being fetched"),
        Some(ModelState::Loading) => loading(status, "the model is being loaded"),
        Some(ModelState::Ready) => {
            pending("the machines that hold the model cannot be reached at the moment")
        }
        Some(ModelState::Invalid) => {
            Standing::Failed(Fault::Rejected(said(status, &[ACCEPTED], "its spec was refused")))
        }
        Some(ModelState::Stopped) if object.spec.replicas > 0 => {
            pending("the model sleeps, because nobody asked for it, and is being woken")
        }
        Some(ModelState::Stopped) => Standing::Failed(Fault::Rejected(
            "it is stopped: set spec.replicas to 1 or more to serve it".to_owned(),
        )),
        Some(ModelState::Waiting) if is_false(status, PLACED) => {
            Standing::Failed(Fault::Unplaceable(said(status, &[PLACED], "it fits nowhere at the moment")))
        }
        Some(ModelState::Waiting) => pending("a place for the model is being looked for"),
        Some(ModelState::Failed) if is_false(status, RESOLVED) => {
            Standing::Failed(Fault::Rejected(said(status, &[RESOLVED], "its file cannot be used")))
        }
        Some(ModelState::Failed) => {
            Standing::Failed(Fault::Unplaceable(said(status, &[READY, PLACED], "it could not be loaded")))
        }
    }
}

fn pending(message: &str) -> Standing {
    Standing::Pending(Progress::saying(message))
}

/// The progress of the replica that will be there first.
fn loading(status: &ServedModelStatus, doing: &str) -> Standing {
    let nearest = status.replicas.iter().max_by_key(|replica| (stage(replica), percent(replica)));
    let (worker, progress) = match nearest {
        Some(replica) => (format!(" on {}", replica.worker), replica.progress.clone().unwrap_or_default()),
        None => (String::new(), hearth_api::model::Progress::default()),
    };
    let percent = if progress.total_bytes > 0 { format!(", {} %", progress.percent) } else { String::new() };
    Standing::Loading(Progress {
        message: format!("{doing}{worker}{percent}"),
        done_bytes: progress.done_bytes,
        total_bytes: progress.total_bytes,
        eta: progress.eta.map(Into::into),
    })
}

fn percent(replica: &ReplicaStatus) -> u32 {
    replica.progress.as_ref().map_or(0, |progress| progress.percent)
}

fn stage(replica: &ReplicaStatus) -> u8 {
    match replica.state {
        ReplicaState::Failed | ReplicaState::Draining => 0,
        ReplicaState::Pending => 1,
        ReplicaState::Fetching => 2,
        ReplicaState::Loading => 3,
        ReplicaState::Warming => 4,
        ReplicaState::Ready => 5,
    }
}

fn is_false(status: &ServedModelStatus, kind: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == "False")
}

/// The message of the first of these conditions that is False and says something.
fn said(status: &ServedModelStatus, kinds: &[&str], otherwise: &str) -> String {
    kinds
        .iter()
        .filter_map(|kind| {
            status.conditions.iter().find(|condition| condition.type_ == *kind && condition.status == "False")
        })
        .map(|condition| condition.message.trim().to_owned())
        .find(|message| !message.is_empty())
        .unwrap_or_else(|| otherwise.to_owned())
}

#[cfg(test)]
mod tests {
    use hearth_api::{ServedModelSpec, WorkerSpec, WorkerStatus};
    use serde_json::json;

    use super::*;

    /// As the API server would send it, so that what is read is what is written.
    fn served_model(status: serde_json::Value) -> ServedModel {
        serde_json::from_value(json!({
            "apiVersion": "hearth.dev/v1alpha1",
            "kind": "ServedModel",
            "metadata": {
                "name": "smol", "namespace": "default", "generation": 2, "uid": "6f7a",
                "creationTimestamp": "2026-01-02T03:04:05Z",
            },
            "spec": {"source": {"uri": "hf://owner/repo"}, "servedName": "chat"},
            "status": status,
        }))
        .unwrap()
    }

    fn standing_of(state: &str, conditions: serde_json::Value) -> Standing {
        model(&served_model(json!({"observedGeneration": 2, "state": state, "conditions": conditions})))
            .standing
    }

    fn condition(kind: &str, status: &str, message: &str) -> serde_json::Value {
        json!({
            "type": kind, "status": status, "reason": "Because", "message": message,
            "lastTransitionTime": "2026-01-02T03:04:05Z",
        })
    }

    #[test]
    fn a_ready_model() {
        let fact = model(&served_model(json!({
            "observedGeneration": 2,
            "state": "Ready",
            "resolved": {"quantization": "Q4_1", "context": 4096},
            "replicas": [
                {"ordinal": 0, "worker": "box", "device": "gpu", "context": 4096, "sequences": 2, "state": "Ready"},
                {"ordinal": 1, "worker": "attic", "device": "gpu", "context": 4096, "sequences": 2, "state": "Loading"},
            ],
        })));
        assert_eq!(fact.served_name, "chat");
        assert_eq!(fact.key.to_string(), "default/smol");
        assert_eq!((fact.context_tokens, fact.quantization.as_str()), (4096, "Q4_1"));
        assert_eq!(fact.created.to_string(), "2026-01-02T03:04:05Z");
        // By the name under which the controller orders it.
        let id = replica_id("6f7a", 0);
        let ready = ReplicaFact { id, worker: "box".into(), device: "gpu".into(), sequences: 2 };
        assert_eq!(fact.ready, [ready]);
    }

    #[test]
    fn the_name_of_the_object_is_the_default() {
        let object = ServedModel::new("smol", ServedModelSpec::new("hf://owner/repo"));
        assert_eq!(model(&object).served_name, "smol");
    }

    #[test]
    fn progress_of_the_replica_that_is_furthest() {
        let fact = model(&served_model(json!({
            "observedGeneration": 2,
            "state": "Loading",
            "replicas": [
                {"ordinal": 0, "worker": "attic", "device": "gpu", "context": 1, "sequences": 1, "state": "Pending"},
                {"ordinal": 1, "worker": "box", "device": "gpu", "context": 1, "sequences": 1, "state": "Loading",
                 "progress": {"percent": 40, "doneBytes": 40, "totalBytes": 100, "eta": "30s"}},
            ],
        })));
        let Standing::Loading(progress) = fact.standing else { panic!("{:?}", fact.standing) };
        assert_eq!(progress.message, "the model is being loaded on box, 40 %");
        assert_eq!((progress.done_bytes, progress.total_bytes), (40, 100));
        assert_eq!(progress.eta, Some(std::time::Duration::from_secs(30)));
    }

    #[test]
    fn what_waiting_cannot_help() {
        let rejected = |message: &str| Standing::Failed(Fault::Rejected(message.into()));
        let unplaceable = |message: &str| Standing::Failed(Fault::Unplaceable(message.into()));
        assert_eq!(
            standing_of("Invalid", json!([condition("Accepted", "False", "spec.replicas: -1")])),
            rejected("spec.replicas: -1")
        );
        assert_eq!(
            standing_of("Waiting", json!([condition("Placed", "False", "needs 9 GiB, box has 3 GiB")])),
            unplaceable("needs 9 GiB, box has 3 GiB")
        );
        assert_eq!(
            standing_of("Failed", json!([condition("Resolved", "False", "the file is 404")])),
            rejected("the file is 404")
        );
        assert_eq!(
            standing_of("Failed", json!([condition("Ready", "False", "out of memory")])),
            unplaceable("out of memory")
        );
        let mut object = served_model(json!({"observedGeneration": 2, "state": "Stopped"}));
        object.spec.replicas = 0;
        assert!(matches!(model(&object).standing, Standing::Failed(Fault::Rejected(_))));
    }

    #[test]
    fn what_is_waited_for() {
        let waits = |state: &str, conditions: serde_json::Value| match standing_of(state, conditions) {
            Standing::Pending(progress) => progress.message,
            other => panic!("{other:?}"),
        };
        assert!(waits("Stopped", json!([])).contains("sleeps"), "a request wakes it");
        assert!(waits("Waiting", json!([condition("Placed", "Unknown", "")])).contains("looked for"));
        assert_eq!(
            waits("Resolving", json!([condition("Resolved", "False", "the hub: 503")])),
            "the hub: 503"
        );
        assert!(waits("Resolving", json!([condition("Resolved", "Unknown", "x")])).contains("header"));
    }

    #[test]
    fn an_edit_that_was_not_looked_at_yet_is_waited_for() {
        let object = served_model(json!({"observedGeneration": 1, "state": "Invalid"}));
        assert!(matches!(model(&object).standing, Standing::Pending(_)));
        let mut object = object;
        object.status = None;
        assert!(matches!(model(&object).standing, Standing::Pending(_)));
    }

    #[test]
    fn only_a_ready_worker_has_an_address() {
        for (state, expected) in [
            (WorkerState::Ready, Some("10.0.0.1:9090")),
            (WorkerState::Gone, None),
            (WorkerState::Draining, None),
            (WorkerState::Parked, None),
            (WorkerState::Starting, None),
        ] {
            let mut object = Worker::new("box", WorkerSpec::pod("box"));
            object.status = Some(WorkerStatus {
                state: Some(state),
                address: Some("10.0.0.1:9090".into()),
                ..WorkerStatus::default()
            });
            assert_eq!(worker(&object).address.as_deref(), expected, "{state:?}");
        }
    }
}
