//! The writes that the controller makes, each with its precondition, none without an
//! end: while a round waits, nothing is decided.

use std::fmt::Debug;

use hearth_api::meta::FIELD_MANAGER;
use hearth_api::{ServedModel, Worker};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::warn;

use crate::controller::answer::answered;
use crate::controller::tell::Note;

/// The client, and who writes with it.
#[derive(Clone)]
pub struct Hands {
    client: Client,
    namespace: String,
    recorder: Recorder,
}

impl Hands {
    /// Writes as `instance`, the Pod's name, in and around `namespace`.
    pub fn new(client: Client, namespace: String, instance: String) -> Self {
        let reporter = Reporter { controller: "hearth.dev/controller".to_owned(), instance: Some(instance) };
        Self { recorder: Recorder::new(client.clone(), reporter), client, namespace }
    }

    /// Server-side apply of an object of ours.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn apply<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        answered(api.patch(&object.name_any(), &params(), &Patch::Apply(object))).await.map(drop)
    }

    /// Makes an object unless there is one; what is there stays as it is.
    ///
    /// # Errors
    /// What the API server says, but not that there is one.
    pub async fn create<K>(&self, object: &K) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Serialize
            + DeserializeOwned
            + Clone
            + Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        unless_there(answered(api.create(&post(), object)).await)
    }

    /// Makes a Worker unless there is one: its spec is the administrator's.
    ///
    /// # Errors
    /// What the API server says, but not that there is one.
    pub async fn create_worker(&self, worker: &Worker) -> Result<(), kube::Error> {
        let api: Api<Worker> = Api::all(self.client.clone());
        unless_there(answered(api.create(&post(), worker)).await)
    }

    /// Deletes exactly this Pod, not one that took its name since.
    ///
    /// # Errors
    /// What the API server says, but not that it is gone.
    pub async fn delete_pod(&self, name: &str, uid: &str) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let params = DeleteParams::default()
            .preconditions(Preconditions { uid: Some(uid.to_owned()), resource_version: None });
        match answered(api.delete(name, &params)).await {
            // 409: another Pod has the name.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Writes the status of exactly this ServedModel.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn model_status(
        &self,
        model: &ServedModel,
        status: &impl Serialize,
    ) -> Result<(), kube::Error> {
        let api: Api<ServedModel> =
            Api::namespaced(self.client.clone(), model.namespace().as_deref().unwrap_or_default());
        write_status(&api, model, status).await
    }

    /// Writes the status of exactly this Worker.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn worker_status(&self, worker: &Worker, status: &impl Serialize) -> Result<(), kube::Error> {
        write_status(&Api::all(self.client.clone()), worker, status).await
    }

    /// Publishes Events about an object. They are for people: one that is lost
    /// changes nothing.
    pub async fn publish<K>(&self, object: &K, notes: Vec<Note>)
    where
        K: Resource<DynamicType = ()>,
    {
        let reference = object.object_ref(&());
        for note in notes {
            let event = Event {
                type_: if note.warning { EventType::Warning } else { EventType::Normal },
                reason: note.reason,
                note: Some(note.message),
                action: note.action,
                secondary: None,
            };
            if let Err(error) = answered(self.recorder.publish(&event, &reference)).await {
                warn!(
                    reason = event.reason,
                    error = &error as &dyn std::error::Error,
                    "an Event was not published"
                );
            }
        }
    }
}

async fn write_status<K>(api: &Api<K>, object: &K, status: &impl Serialize) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = ()> + DeserializeOwned + Clone + Debug,
{
    // The UID makes the write fail where the object was made anew.
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    });
    match answered(api.patch_status(&object.name_any(), &params(), &Patch::Apply(&patch))).await {
        // It was deleted: the next look tells. A conflict is no such thing: what was not
        // written is not ordered either.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        outcome => outcome.map(drop),
    }
}

fn params() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn unless_there<K>(outcome: Result<K, kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        outcome => outcome.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use hearth_api::worker::{WorkerSpec, WorkerStatus};
    use http::{Request, Response};
    use kube::client::Body;

    use super::*;

    /// Writes to an API server that answers with this code, or not at all.
    fn hands(code: Option<u16>) -> Hands {
        let service = tower::service_fn(move |_: Request<Body>| async move {
            let Some(code) = code else { std::future::pending().await };
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code});
            let body = Body::from(status.to_string().into_bytes());
            Ok::<_, std::io::Error>(Response::builder().status(code).body(body).unwrap())
        });
        Hands::new(Client::new(service, "hearth"), "hearth".to_owned(), "controller-0".to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_says_nothing_is_not_waited_for() {
        let (hands, worker) = (hands(None), Worker::new("box", WorkerSpec::pod("box")));
        let began = tokio::time::Instant::now();
        let silent = |outcome: Result<(), kube::Error>| {
            let error = outcome.unwrap_err();
            assert!(
                matches!(&error, kube::Error::Service(why) if why.to_string().contains("did not answer"))
            );
        };
        let mut pod = Pod::default();
        pod.metadata.name = Some("box".to_owned());
        silent(hands.apply(&pod).await);
        silent(hands.create(&pod).await);
        silent(hands.create_worker(&worker).await);
        silent(hands.delete_pod("box", "1").await);
        silent(hands.worker_status(&worker, &WorkerStatus::default()).await);
        let note =
            Note { warning: false, reason: "R".to_owned(), message: String::new(), action: String::new() };
        hands.publish(&worker, vec![note]).await;
        assert!(began.elapsed() < std::time::Duration::from_secs(100));
    }

    #[tokio::test]
    async fn a_status_that_was_not_written_does_not_count_as_written() {
        let worker = Worker::new("box", WorkerSpec::pod("box"));
        let write = async |code| hands(Some(code)).worker_status(&worker, &WorkerStatus::default()).await;
        assert!(write(404).await.is_ok(), "it is gone");
        for code in [409, 422, 500] {
            assert!(write(code).await.is_err(), "{code}");
        }
    }
}
