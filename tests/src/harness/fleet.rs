//! Machines that are not there: nodes that KWOK keeps alive, and for each of their worker Pods a real worker
//! process of this machine, with simulated devices, at the Pod's address.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod, Secret};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
};

use super::{Cluster, GPU};

/// Marks what KWOK manages, and what a scale run leaves behind.
const LABEL: &str = "hearth-e2e/scale";
/// The StorageClass of the machines' stores. No Pod of theirs mounts anything.
const CLASS: &str = "hearth-scale";
/// GPUs of a machine, and what each claims to have.
const GPUS: usize = 2;
const GPU_BYTES: u64 = 12 << 30;

/// The nth machine's name.
pub(crate) fn machine(n: usize) -> String {
    format!("scale-{n:03}")
}

/// The machines. What it made in the cluster goes with [`Fleet::remove`], its processes when it is dropped.
pub(crate) struct Fleet {
    cluster: Cluster,
    machines: usize,
    keeper: JoinHandle<()>,
}

impl Fleet {
    /// What a `ServedModel` names in `placement.devices`, so that no machine but these takes it.
    pub(crate) const PRODUCT: &str = "Scale";

    /// The chart's values for them, as `--set` of Helm takes it.
    pub(crate) const SET: &str = "worker.store.storageClass=hearth-scale";

    /// Makes nodes and the volumes of their stores, and follows their Pods from then on.
    pub(crate) async fn start(cluster: &Cluster, machines: usize, models_ca: &Path) -> Result<Self> {
        let class = json!({
            "metadata": {"name": CLASS, "labels": {LABEL: "true"}},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "Immediate",
        });
        create(Api::<k8s_openapi::api::storage::v1::StorageClass>::all(cluster.client.clone()), class)
            .await?;
        for n in 0..machines {
            create(Api::<PersistentVolume>::all(cluster.client.clone()), volume(n)).await?;
            create(Api::<Node>::all(cluster.client.clone()), node(n)).await?;
        }
        let keeper = Keeper {
            cluster: cluster.clone(),
            program: std::env::current_exe()?.with_file_name("hearth-worker"),
            models_ca: models_ca.to_owned(),
            folder: tempfile::tempdir()?,
            running: BTreeMap::new(),
        };
        Ok(Self { cluster: cluster.clone(), machines, keeper: tokio::spawn(keeper.run()) })
    }

    /// Takes the machines away again.
    pub(crate) async fn remove(self) -> Result<()> {
        self.keeper.abort();
        let selector = ListParams::default().labels(LABEL);
        let delete = DeleteParams::background();
        let client = &self.cluster.client;
        Api::<Node>::all(client.clone()).delete_collection(&delete, &selector).await?;
        let workers = self.cluster.workers();
        for n in 0..self.machines {
            let _ = workers.delete(&machine(n), &delete).await;
        }
        Api::<PersistentVolume>::all(client.clone()).delete_collection(&delete, &selector).await?;
        Api::<k8s_openapi::api::storage::v1::StorageClass>::all(client.clone())
            .delete_collection(&delete, &selector)
            .await?;
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

async fn create<K>(api: Api<K>, object: Value) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object)?;
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        Err(error) => Err(error).context("making a machine"),
    }
}

/// Only worker Pods tolerate the taint.
fn node(n: usize) -> Value {
    let resources = json!({"cpu": "16", "memory": "64Gi", "pods": "20", GPU: GPUS.to_string()});
    json!({
        "metadata": {
            "name": machine(n),
            "labels": {LABEL: "true", "kubernetes.io/hostname": machine(n)},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": GPU, "effect": "NoSchedule", "value": "present"}]},
        "status": {"capacity": resources, "allocatable": resources},
    })
}

fn volume(n: usize) -> Value {
    json!({
        "metadata": {"name": machine(n), "labels": {LABEL: "true"}},
        "spec": {
            "storageClassName": CLASS, "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Ti"},
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"},
        },
    })
}

/// Keeps a process for each running worker Pod of the machines.
struct Keeper {
    cluster: Cluster,
    program: PathBuf,
    models_ca: PathBuf,
    folder: TempDir,
    /// By Pod UID. A process ends when it is dropped.
    running: BTreeMap<String, Child>,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.round().await {
                println!("  the machines: {error:#}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn round(&mut self) -> Result<()> {
        let selector = ListParams::default().labels("app.kubernetes.io/name=hearth-worker");
        let pods = self.cluster.system::<Pod>().list(&selector).await?.items;
        let mut wanted = BTreeMap::new();
        for pod in pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
            if let (true, Some(uid), Some(address)) = (node.starts_with("scale-"), pod.uid(), address) {
                wanted.insert(uid, (node, address));
            }
        }
        self.running.retain(|uid, _| wanted.contains_key(uid));
        for (uid, (node, address)) in wanted {
            if !self.running.contains_key(&uid) {
                let child = self.begin(&node, &address).await.with_context(|| format!("starting {node}"))?;
                self.running.insert(uid, child);
            }
        }
        Ok(())
    }

    async fn begin(&self, node: &str, address: &str) -> Result<Child> {
        let folder = self.folder.path().join(node);
        let (tls, state) = (folder.join("tls"), folder.join("state"));
        tokio::fs::create_dir_all(&tls).await?;
        let secret: Secret = self.cluster.system().get(&format!("hearth-worker-{node}-tls")).await?;
        for (name, bytes) in secret.data.unwrap_or_default() {
            tokio::fs::write(tls.join(name), bytes.0).await?;
        }
        let device = |n| json!({"uuid": format!("GPU-{node}-{n}"), "product": "RTX 3060 Scale", "memoryBytes": GPU_BYTES});
        let devices: Vec<Value> = (0..GPUS).map(device).collect();
        Command::new(&self.program)
            .args(["serve", "--log", "warn", "--name", node, "--compute", "Simulated", "--allow-private"])
            .args(["--simulated-devices", &serde_json::to_string(&devices)?])
            .args(["--listen", &format!("{address}:9090"), "--listen-http", &format!("{address}:9091")])
            .args(["--reserve-bytes", &(1u64 << 30).to_string()])
            .arg("--tls-dir")
            .arg(tls)
            .arg("--state-dir")
            .arg(&state)
            .arg("--runtime-dir")
            .arg(&folder)
            .arg("--extra-ca")
            .arg(&self.models_ca)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("starting hearth-worker")
    }
}
