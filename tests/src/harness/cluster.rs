//! The cluster through its API.

use std::{fmt::Debug, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use hearth_api::{ServedModel, Worker};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::process::Command;

/// Where the chart is installed.
pub(crate) const SYSTEM_NAMESPACE: &str = "hearth-system";

/// A client and what cases ask of it again and again.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) client: Client,
}

impl Cluster {
    pub(crate) async fn connect() -> Result<Self> {
        Ok(Self { client: Client::try_default().await.context("connecting to the cluster of KUBECONFIG")? })
    }

    pub(crate) fn models(&self, namespace: &str) -> Api<ServedModel> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn workers(&self) -> Api<Worker> {
        Api::all(self.client.clone())
    }

    pub(crate) fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) fn system<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), SYSTEM_NAMESPACE)
    }

    pub(crate) async fn ensure_namespace(&self, name: &str) -> Result<()> {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        match Api::all(self.client.clone()).create(&PostParams::default(), &namespace).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            Err(error) => Err(error).with_context(|| format!("creating the namespace {name}")),
        }
    }

    /// Server-side apply, as `kubectl apply --server-side` does it.
    pub(crate) async fn apply(&self, model: &ServedModel) -> kube::Result<ServedModel> {
        let name = model.metadata.name.as_deref().unwrap_or_default();
        let namespace = model.metadata.namespace.as_deref().unwrap_or(super::NAMESPACE);
        // Absent optional fields must stay absent, so that a case can take one back.
        let mut body = serde_json::to_value(model).map_err(kube::Error::SerdeError)?;
        prune_nulls(&mut body);
        self.models(namespace).patch(name, &PatchParams::apply("e2e").force(), &Patch::Apply(body)).await
    }

    /// Applies a manifest as text, whatever it says: for input that no type can hold.
    pub(crate) async fn kubectl_apply(&self, manifest: &str) -> Result<std::process::Output> {
        use tokio::io::AsyncWriteExt;
        let mut child = Command::new("kubectl")
            .args(["apply", "--server-side", "--field-manager=e2e", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        child.stdin.take().context("kubectl's input")?.write_all(manifest.as_bytes()).await?;
        Ok(child.wait_with_output().await?)
    }

    /// What kubectl prints; fails if it fails.
    pub(crate) async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let output = Command::new("kubectl").args(args).output().await.context("starting kubectl")?;
        if !output.status.success() {
            bail!("kubectl {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Waits until the object meets the condition, by watching it. `None` means that it does not exist.
    pub(crate) async fn wait<K>(
        &self,
        api: Api<K>,
        name: &str,
        limit: Duration,
        what: &str,
        mut met: impl FnMut(Option<&K>) -> bool,
    ) -> Result<Option<K>>
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let mut last = None;
        let found = tokio::time::timeout(limit, async {
            let mut stream = std::pin::pin!(watcher::watch_object(api, name).default_backoff());
            while let Some(object) = stream.try_next().await? {
                if met(object.as_ref()) {
                    return Ok(object);
                }
                last = object;
            }
            bail!("the watch ended")
        });
        match found.await {
            Ok(found) => found.with_context(|| format!("waiting for {name}: {what}")),
            Err(_) => bail!("{name}: not {what} after {} s; last seen: {last:#?}", limit.as_secs()),
        }
    }

    /// The address of a Service that this machine reaches.
    pub(crate) async fn service_ip(&self, name: &str) -> Result<String> {
        self.service_ip_in(SYSTEM_NAMESPACE, name).await
    }

    /// The address of the local cluster's model server.
    pub(crate) async fn models_server_ip(&self) -> Result<String> {
        self.service_ip_in("hearth-demo", "models").await
    }

    async fn service_ip_in(&self, namespace: &str, name: &str) -> Result<String> {
        let services: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let service = services.get(name).await.with_context(|| format!("the Service {name}"))?;
        service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .with_context(|| format!("the Service {name} has no cluster IP"))
    }

    /// Deletes every ServedModel and waits until they are gone.
    pub(crate) async fn remove_all_models(&self) -> Result<()> {
        let all: Api<ServedModel> = Api::all(self.client.clone());
        let models = match all.list(&ListParams::default()).await {
            Ok(models) => models,
            // Before the first installation there is no such resource.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for model in models {
            let (name, namespace) =
                (model.metadata.name.unwrap_or_default(), model.metadata.namespace.unwrap_or_default());
            let api = self.models(&namespace);
            match api.delete(&name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => continue,
                Err(error) => return Err(error.into()),
            }
            self.wait(api, &name, Duration::from_secs(30), "deleted", |model| model.is_none()).await?;
        }
        Ok(())
    }

    /// What a person would look at first when a case has failed.
    pub(crate) async fn print_state(&self) {
        for args in [
            &["get", "sm,workers", "-A", "-o", "wide"][..],
            &["describe", "sm", "-A"],
            &["get", "pods", "-A", "-o", "wide"],
            &["-n", SYSTEM_NAMESPACE, "logs", "-l", "app.kubernetes.io/name=hearth-controller", "--tail=60"],
            &["-n", SYSTEM_NAMESPACE, "logs", "-l", "app.kubernetes.io/name=hearth-gateway", "--tail=20"],
            &["-n", SYSTEM_NAMESPACE, "logs", "-l", "app.kubernetes.io/name=hearth-worker", "--tail=40"],
        ] {
            match self.kubectl(args).await {
                Ok(text) => println!("--- kubectl {}\n{text}", args.join(" ")),
                Err(error) => println!("--- kubectl {}: {error:#}", args.join(" ")),
            }
        }
    }
}

fn prune_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            map.retain(|_, inner| !inner.is_null());
            map.values_mut().for_each(prune_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(prune_nulls),
        _ => {}
    }
}
