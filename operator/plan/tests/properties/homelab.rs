//! Homelabs that are made up: machines, models, and what an earlier plan left.

use std::time::Duration;

use hearth_model::Dims;
use hearth_plan::{
    Context, Device, Devices, GpuClaim, Model, Namespaces, Observed, Resolution, Trouble, Worker, WorkerKind,
    WorkerState, plan,
};
use proptest::prelude::*;

use super::support::*;

/// A model whose weights are about all it takes.
pub(super) fn dims(weights: u64) -> Dims {
    Dims {
        layers: 2,
        heads: 1,
        kv_heads: 1,
        head_dim_k: 32,
        head_dim_v: 32,
        embedding: 32,
        ffn: 32,
        experts: 0,
        experts_used: 0,
        vocab: 32,
        context_length: 1 << 20,
        windowed_layers: 0,
        window: 0,
        sees_ahead: false,
        weights_f32_bytes: weights * 4,
        weights_packed_bytes: weights,
    }
}

prop_compose! {
    // Few sizes and few products, so that things collide.
    pub(super) fn device()(
        uuid in 0u8..4, size in 2u64..26, others in 0u64..4, reserve in 0u64..2,
        product in prop::sample::select(vec!["RTX 3090", "RTX 4090", "RTX 3060", "Tesla T4", ""]),
        failed in prop::bool::weighted(0.05),
    ) -> Device {
        Device {
            used_by_others: others * GIB / 2,
            reserve: reserve * GIB,
            failed: failed.then(|| "Xid 79".to_owned()),
            ..gpu(&format!("GPU-{uuid}"), product, size)
        }
    }
}

prop_compose! {
    pub(super) fn machine()(
        mut devices in prop::collection::vec(device(), 0..4),
        on_cpu in prop::bool::weighted(0.2),
        unmeasured in prop::bool::weighted(0.1),
        state in prop::sample::select(vec![
            WorkerState::Ready, WorkerState::Ready, WorkerState::Ready, WorkerState::Ready, WorkerState::Parked,
            WorkerState::Parked, WorkerState::Starting, WorkerState::Draining, WorkerState::Gone,
        ]),
        closed in prop::bool::weighted(0.1),
        is_joined in prop::bool::weighted(0.1),
        is_private in prop::bool::weighted(0.1),
        trouble in prop::bool::weighted(0.05),
        free in 0u32..5,
        store_free in prop::option::weighted(0.3, 0u64..20),
        idle in 0u64..3600,
    ) -> Worker {
        devices.sort_by(|a, b| a.uuid.cmp(&b.uuid));
        devices.dedup_by(|a, b| a.uuid == b.uuid);
        if on_cpu {
            devices = vec![cpu(64)];
        }
        let wanted = u32::try_from(devices.len()).expect("few").min(free.max(1));
        Worker {
            state,
            closed,
            kind: if is_joined { WorkerKind::Joined } else { WorkerKind::Pod },
            namespaces: if is_private { Namespaces::Only(["private".to_owned()].into()) } else { Namespaces::All },
            devices: if unmeasured {
                Devices::Unmeasured { kind: hearth_model::footprint::DeviceKind::Cuda }
            } else {
                Devices::Known(devices)
            },
            gpus: (!on_cpu).then(|| GpuClaim { wanted, free, holders: Vec::new() }),
            trouble: trouble.then(|| Trouble { reason: "Unschedulable".to_owned(), message: "no".to_owned() }),
            store_free: store_free.map(|gib| gib * GIB),
            idle_for: Duration::from_secs(idle),
            ..worker("", Vec::new())
        }
    }
}

prop_compose! {
    pub(super) fn wish()(
        weights in 1u64..80, created in 0i64..4, priority in -1i32..2, replicas in 0u32..3,
        min in 1u32..5000, more in 0u32..100_000, sequences in 1u32..5,
        device in prop::option::weighted(0.2, prop::sample::select(vec!["RTX 3090", "GPU-1", "Cuda", "Cpu"])),
        is_private in prop::bool::weighted(0.2),
        joined in prop::bool::weighted(0.8),
        unresolved in prop::bool::weighted(0.05),
    ) -> Model {
        let mut wish = model("", dims(weights * GIB / 4));
        wish.key.namespace = if is_private { "private" } else { "default" }.to_owned();
        wish.created = created;
        wish.priority = priority;
        wish.replicas = replicas;
        wish.context = Context { min, max: min + more };
        wish.sequences = sequences;
        wish.placement.devices = device.into_iter().map(str::to_owned).collect();
        wish.placement.joined = joined;
        if unresolved {
            wish.file = Resolution::Unresolved("404".to_owned());
        }
        wish
    }
}

prop_compose! {
    /// At most eight replicas on at most six devices in most cases: where the
    /// search is exact.
    pub(super) fn homelab(max_models: usize)(
        mut workers in prop::collection::vec(machine(), 0..4),
        mut models in prop::collection::vec(wish(), 0..max_models),
    ) -> Observed {
        for (at, worker) in workers.iter_mut().enumerate() {
            worker.name = format!("w{at}");
        }
        for (at, model) in models.iter_mut().enumerate() {
            model.key.name = format!("m{at}");
            if let Resolution::Resolved(file) = &mut model.file {
                file.id = format!("f{at}");
            }
        }
        Observed { workers, models }
    }
}

prop_compose! {
    /// A homelab with a past: what an earlier plan, of an earlier homelab, left.
    pub(super) fn lived_in()(
        before in homelab(6),
        now in homelab(6),
        same_machines in prop::bool::weighted(0.7),
        same_models in prop::bool::weighted(0.5),
        answers in any::<bool>(),
        grown in 0u64..3,
    ) -> Observed {
        let first = plan(&before);
        let after = if answers { carried_out(before, &first) } else { under_way(before, &first) };
        let mut now = now;
        if same_machines {
            now.workers = after.workers;
            for worker in &mut now.workers {
                if let Devices::Known(devices) = &mut worker.devices {
                    devices.iter_mut().for_each(|d| d.used_by_others += grown * GIB / 4);
                }
            }
        }
        if same_models {
            now.models = after.models;
        } else {
            for (model, old) in now.models.iter_mut().zip(after.models) {
                model.current = old.current;
                model.current.truncate(3);
                if let (Resolution::Resolved(new), Resolution::Resolved(old)) = (&mut model.file, &old.file) {
                    *new = old.clone();
                }
            }
        }
        now
    }
}
