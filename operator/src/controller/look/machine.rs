//! A Worker together with the node, the Pod and the link that belong to it.

use std::collections::BTreeMap;
use std::fmt;

use hearth_api::Worker;
use hearth_api::worker::{Gpus, WorkerKind};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use super::pod::PodView;
use super::pods::{count, requested};
use super::{LinkState, Snapshot};
use crate::controller::build::{Holds, child_name};
use crate::controller::config::Config;

/// A Worker together with the node, the Pod and the link that belong to it.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    /// The Worker.
    pub worker: &'a Worker,
    /// What its node offers.
    pub offer: Offer,
    /// Its Pod, if there is one.
    pub pod: Option<PodView>,
    /// Its link, if it has an address.
    pub link: Option<&'a LinkState>,
}

/// What a node offers to a worker Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// GPUs, counted as the scheduler counts.
    Gpus(GpuOffer),
    /// CPU and memory.
    Cpu,
    /// Nothing, for this reason.
    Nothing(String),
}

/// The GPUs of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuOffer {
    /// The node.
    pub node: String,
    /// The extended resource.
    pub resource: String,
    /// How many there are.
    pub capacity: u32,
    /// How many of them work.
    pub allocatable: u32,
    /// How many a Worker may take at the most, if its spec says so.
    pub limit: Option<u32>,
    /// Which other Pods hold how many.
    pub others: BTreeMap<String, u32>,
}

impl GpuOffer {
    /// How many work and are held by no other Pod.
    pub fn free(&self) -> u32 {
        let held = self.others.values().copied().fold(0, u32::saturating_add);
        self.allocatable.saturating_sub(held)
    }

    /// How many our Pod may hold: what is free, up to the limit.
    pub fn available(&self) -> u32 {
        self.limit.map_or(self.free(), |limit| limit.min(self.free()))
    }
}

/// As in "box has 2 GPUs: 2 requested by Pod default/other".
impl fmt::Display for GpuOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.capacity == 1 { "" } else { "s" };
        write!(f, "{} has {} GPU{plural}", self.node, self.capacity)?;
        let mut separator = ": ";
        let sick = self.capacity.saturating_sub(self.allocatable);
        if sick > 0 {
            write!(f, "{separator}{sick} reported unhealthy")?;
            separator = ", ";
        }
        for (pod, count) in &self.others {
            write!(f, "{separator}{count} requested by Pod {pod}")?;
            separator = ", ";
        }
        Ok(())
    }
}

impl Offer {
    /// What our Pod would hold if it was made now.
    ///
    /// # Errors
    /// The reason why it cannot be made, for people.
    pub fn holds(&self) -> Result<Holds, String> {
        match self {
            Self::Gpus(gpus) => match gpus.available() {
                0 => Err(gpus.to_string()),
                count => Ok(Holds::Gpus { resource: gpus.resource.clone(), count }),
            },
            Self::Cpu => Ok(Holds::Cpu),
            Self::Nothing(why) => Err(why.clone()),
        }
    }
}

impl<'a> Machine<'a> {
    /// All machines of kind Pod, by the Workers' names. Joined ones are not
    /// served by this version.
    pub fn all(snapshot: &'a Snapshot, config: &Config, namespace: &str) -> BTreeMap<&'a str, Self> {
        let pods = Pods::of(snapshot, namespace);
        let workers = snapshot.workers.iter().filter(|(_, worker)| worker.spec.kind == WorkerKind::Pod);
        workers
            .map(|(name, worker)| (name.as_str(), Self::of(name, worker, snapshot, &pods, config)))
            .collect()
    }

    fn of(name: &str, worker: &'a Worker, snapshot: &'a Snapshot, pods: &Pods<'a>, config: &Config) -> Self {
        let pod = pods.ours.get(child_name(name).as_str()).copied();
        Self {
            worker,
            offer: offer(worker, snapshot, pods, config, pod),
            pod: pod.map(|pod| PodView::of(pod, &worker.spec.resource_name)),
            link: snapshot.links.get(name),
        }
    }
}

/// The Pods of a snapshot, looked through once for all machines.
struct Pods<'a> {
    /// Those in the release's namespace, by name.
    ours: BTreeMap<&'a str, &'a Pod>,
    /// Those that count on a node, by its name.
    on: BTreeMap<&'a str, Vec<&'a Pod>>,
}

impl<'a> Pods<'a> {
    fn of(snapshot: &'a Snapshot, namespace: &str) -> Self {
        let mut pods = Self { ours: BTreeMap::new(), on: BTreeMap::new() };
        for pod in &snapshot.pods {
            if pod.metadata.namespace.as_deref() == Some(namespace) {
                pods.ours.extend(pod.metadata.name.as_deref().map(|name| (name, &**pod)));
            }
            if let Some(node) = counts_on(pod) {
                pods.on.entry(node).or_default().push(pod);
            }
        }
        pods
    }
}

/// What the node of a worker offers to `own`, its Pod, or to the one it will have.
fn offer(worker: &Worker, snapshot: &Snapshot, pods: &Pods<'_>, config: &Config, own: Option<&Pod>) -> Offer {
    let Some(name) = &worker.spec.node_name else {
        return Offer::Nothing("its spec names no node".to_owned());
    };
    let Some(node) = snapshot.nodes.get(name) else {
        // A Worker outlives its node, with what its store holds: it may come back.
        return Offer::Nothing(format!(
            "the cluster has no node {name}; if it is gone for good, delete the Worker, and its store with it"
        ));
    };
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        return Offer::Nothing(format!("the node {name} is cordoned"));
    }
    let resource = &worker.spec.resource_name;
    let capacity = capacity(node, resource);
    let limit = match worker.spec.gpus {
        Gpus::Count(0) => return Offer::Cpu,
        Gpus::Count(count) => Some(count),
        Gpus::All => None,
    };
    if capacity == 0 {
        return match config.cpu_nodes.contains(name) {
            true => Offer::Cpu,
            false => Offer::Nothing(format!("the node {name} offers no {resource}")),
        };
    }
    let allocatable =
        node.status.as_ref().and_then(|s| s.allocatable.as_ref()?.get(resource)).map_or(0, count);
    let is_other = |pod: &&&Pod| own.is_none_or(|own| !std::ptr::eq(own, **pod));
    let others = pods.on.get(name.as_str()).into_iter().flatten().filter(is_other);
    let others = others.filter_map(|pod| {
        let count = requested(pod, resource);
        let pod = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        (count > 0).then_some((pod, count))
    });
    Offer::Gpus(GpuOffer {
        node: name.clone(),
        resource: resource.clone(),
        capacity,
        allocatable,
        limit,
        others: others.collect(),
    })
}

/// How many of an extended resource a node has, working or not.
pub fn capacity(node: &Node, resource: &str) -> u32 {
    node.status.as_ref().and_then(|s| s.capacity.as_ref()?.get(resource)).map_or(0, count)
}

/// The node that a Pod is bound to, while it counts there.
fn counts_on(pod: &Pod) -> Option<&str> {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref());
    node.filter(|_| !matches!(phase, Some("Succeeded" | "Failed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(allocatable: u32, limit: Option<u32>, others: &[(&str, u32)]) -> GpuOffer {
        GpuOffer {
            node: "box".to_owned(),
            resource: "nvidia.com/gpu".to_owned(),
            capacity: 2,
            allocatable,
            limit,
            others: others.iter().map(|(pod, count)| ((*pod).to_owned(), *count)).collect(),
        }
    }

    #[test]
    fn what_others_hold_and_what_is_broken_is_not_available() {
        assert_eq!(offer(2, None, &[]).available(), 2);
        assert_eq!(offer(2, None, &[("default/a", 1)]).available(), 1);
        assert_eq!(offer(1, None, &[("default/a", 1)]).available(), 0);
        assert_eq!(offer(2, Some(1), &[]).available(), 1);
        assert_eq!(offer(2, None, &[("default/a", 9)]).available(), 0);
        let greedy = offer(2, None, &[("default/a", u32::MAX), ("default/b", u32::MAX)]);
        assert_eq!((greedy.free(), greedy.available()), (0, 0));
    }

    #[test]
    fn a_person_reads_who_holds_the_gpus() {
        let taken = offer(2, None, &[("default/other", 2)]);
        assert_eq!(taken.to_string(), "box has 2 GPUs: 2 requested by Pod default/other");
        let mixed = offer(1, None, &[("default/other", 1)]);
        assert_eq!(
            mixed.to_string(),
            "box has 2 GPUs: 1 reported unhealthy, 1 requested by Pod default/other"
        );
        assert_eq!(Offer::Gpus(taken.clone()).holds(), Err(taken.to_string()));
    }
}
