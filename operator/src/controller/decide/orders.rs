//! What each worker is to hold, and the fence that orders it.

use std::collections::BTreeMap;

use hearth_proto::worker::v1::{ApplyRequest, Fence, Replica};

/// The last order of every worker. An order's generation grows when, and only
/// when, its set changes.
#[derive(Debug, Default)]
pub struct Orders {
    epoch: u64,
    by_worker: BTreeMap<String, Order>,
}

/// What a worker is to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Orders this set among others.
    pub fence: Fence,
    /// The whole set.
    pub replicas: Vec<Replica>,
}

impl Order {
    /// As it goes over the wire.
    pub fn request(&self) -> ApplyRequest {
        ApplyRequest { fence: Some(self.fence), replicas: self.replicas.clone() }
    }
}

impl Orders {
    /// Takes over the sets of a plan made in `epoch`.
    pub fn update(&mut self, epoch: u64, wanted: BTreeMap<String, Vec<Replica>>) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.by_worker.clear();
        }
        let mut before = std::mem::take(&mut self.by_worker);
        for (worker, mut replicas) in wanted {
            replicas.sort_by(|a, b| a.id.cmp(&b.id));
            let generation = match before.remove(&worker) {
                Some(order) if same_set(&order.replicas, &replicas) => order.fence.generation,
                Some(order) => order.fence.generation + 1,
                None => 1,
            };
            self.by_worker.insert(worker, Order { fence: Fence { epoch, generation }, replicas });
        }
        // A worker that is not in this plan keeps its count, should it return.
        for (worker, order) in before {
            self.by_worker.insert(worker, order);
        }
    }

    /// Forgets what workers that are gone were to hold, and their files' credentials. The
    /// count stays: a process of one may outlive it, and meet another of its name.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        let gone = self.by_worker.iter_mut().filter(|(worker, _)| !exists(worker));
        for (_, order) in gone.filter(|(_, order)| !order.replicas.is_empty()) {
            order.fence.generation += 1;
            order.replicas = Vec::new();
        }
    }

    /// The order of a worker.
    pub fn of(&self, worker: &str) -> Option<&Order> {
        self.by_worker.get(worker)
    }

    /// The replica that was last ordered under an id.
    pub fn replica(&self, worker: &str, id: &str) -> Option<&Replica> {
        self.of(worker)?.replicas.iter().find(|replica| replica.id == id)
    }

    /// The fence under which a set would be ordered: that of the last order if
    /// the set is the same, else the next.
    pub fn next_fence(&self, epoch: u64, worker: &str, wanted: &[Replica]) -> Fence {
        let generation = match self.of(worker).filter(|_| self.epoch == epoch) {
            Some(order) if same_set(&order.replicas, wanted) => order.fence.generation,
            Some(order) => order.fence.generation + 1,
            None => 1,
        };
        Fence { epoch, generation }
    }
}

/// Whether two sets ask for the same, whatever their order. A fresh bearer
/// token is not another set.
fn same_set(a: &[Replica], b: &[Replica]) -> bool {
    let plain = |replicas: &[Replica]| {
        let mut replicas: Vec<Replica> = replicas.iter().map(without_token).collect();
        replicas.sort_by(|a, b| a.id.cmp(&b.id));
        replicas
    };
    a.len() == b.len() && plain(a) == plain(b)
}

fn without_token(replica: &Replica) -> Replica {
    let mut replica = replica.clone();
    if let Some(file) = &mut replica.file {
        file.bearer_token.clear();
    }
    replica
}

#[cfg(test)]
mod tests {
    use hearth_proto::worker::v1::ModelFile;

    use super::*;

    fn replica(id: &str, token: &str) -> Replica {
        Replica {
            id: id.to_owned(),
            file: Some(ModelFile { bearer_token: token.to_owned(), ..ModelFile::default() }),
            ..Replica::default()
        }
    }

    fn on(worker: &str, replicas: &[Replica]) -> BTreeMap<String, Vec<Replica>> {
        BTreeMap::from([(worker.to_owned(), replicas.to_vec())])
    }

    fn fence(orders: &Orders) -> (u64, u64) {
        let fence = orders.of("box").unwrap().fence;
        (fence.epoch, fence.generation)
    }

    #[test]
    fn the_generation_grows_when_and_only_when_the_set_changes() {
        let mut orders = Orders::default();
        orders.update(7, on("box", &[replica("a", ""), replica("b", "")]));
        assert_eq!(fence(&orders), (7, 1));
        orders.update(7, on("box", &[replica("b", ""), replica("a", "fresh")]));
        assert_eq!(fence(&orders), (7, 1), "neither the order nor a token matters");
        assert!(orders.replica("box", "a").unwrap().file.as_ref().unwrap().bearer_token == "fresh");
        assert_eq!(orders.next_fence(7, "box", &[replica("b", "")]).generation, 2);
        orders.update(7, on("box", &[replica("b", "")]));
        assert_eq!(fence(&orders), (7, 2));
        orders.update(7, BTreeMap::new());
        orders.update(7, on("box", &[]));
        assert_eq!(fence(&orders), (7, 3));
        orders.update(7, on("box", &[replica("a", "secret")]));
        orders.retain(|worker| worker == "box");
        assert_eq!((fence(&orders), orders.of("box").unwrap().replicas.len()), ((7, 4), 1));
        for _ in 0..2 {
            orders.retain(|_| false);
            assert_eq!((fence(&orders), orders.of("box").unwrap().replicas.len()), ((7, 5), 0));
        }
        orders.update(7, on("box", &[replica("a", "")]));
        assert_eq!(fence(&orders), (7, 6), "another of the name is told more than the last");
        orders.update(8, on("box", &[]));
        assert_eq!(fence(&orders), (8, 1), "a new epoch counts anew");
    }
}
