//! Machines and models of a homelab, with what does not matter filled in.
#![allow(dead_code, unreachable_pub)]

use std::{collections::BTreeMap, time::Duration};

use hearth_model::{
    Dims, KvType, WeightStorage,
    footprint::{DeviceKind, Overheads},
};
use hearth_plan::{
    Change, Context, Device, Devices, GpuClaim, Model, ModelFile, ModelKey, Namespaces, Observed, Placement,
    Plan, Release, Replica, Resolution, Worker, WorkerAction, WorkerKind, WorkerState,
};

pub const GIB: u64 = 1 << 30;

/// Llama 3.1 8B as Q4_K_M.
pub const LLAMA_8B: Dims = Dims {
    layers: 32,
    heads: 32,
    kv_heads: 8,
    head_dim_k: 128,
    head_dim_v: 128,
    embedding: 4096,
    ffn: 14336,
    experts: 0,
    experts_used: 0,
    vocab: 128_256,
    context_length: 131_072,
    windowed_layers: 0,
    window: 0,
    sees_ahead: false,
    weights_f32_bytes: 32_121_044_992,
    weights_packed_bytes: 4_920_000_000,
};

/// A 32B as Q4_K_M.
pub const QWEN_32B: Dims = Dims {
    layers: 64,
    heads: 64,
    kv_heads: 8,
    head_dim_k: 128,
    head_dim_v: 128,
    embedding: 5120,
    ffn: 25600,
    experts: 0,
    experts_used: 0,
    vocab: 151_936,
    context_length: 40_960,
    windowed_layers: 0,
    window: 0,
    sees_ahead: false,
    weights_f32_bytes: 131_048_000_000,
    weights_packed_bytes: 19_760_000_000,
};

pub const SMOL: Dims = hearth_model::testing::SMOLLM2;

pub fn gpu(uuid: &str, product: &str, gib: u64) -> Device {
    Device {
        uuid: uuid.to_owned(),
        kind: DeviceKind::Cuda,
        product: product.to_owned(),
        total: gib * GIB,
        used_by_others: 0,
        reserve: GIB,
        failed: None,
        bandwidth: None,
        storage: WeightStorage::Packed,
        overhead: Overheads::DEFAULT.cuda,
    }
}

pub fn cpu(gib: u64) -> Device {
    Device {
        kind: DeviceKind::Cpu,
        storage: WeightStorage::F32,
        overhead: Overheads::DEFAULT.cpu,
        ..gpu("CPU-0", "", gib)
    }
}

pub fn metal(product: &str, gib: u64) -> Device {
    Device { kind: DeviceKind::Metal, overhead: Overheads::DEFAULT.metal, ..gpu("METAL-0", product, gib) }
}

pub fn worker(name: &str, devices: Vec<Device>) -> Worker {
    Worker {
        name: name.to_owned(),
        kind: WorkerKind::Pod,
        state: WorkerState::Ready,
        closed: false,
        namespaces: Namespaces::All,
        labels: BTreeMap::new(),
        devices: Devices::Known(devices),
        gpus: None,
        trouble: None,
        store_free: None,
        stored: [].into(),
        release: Release::WhenIdle(Duration::from_secs(1800)),
        idle_for: Duration::ZERO,
    }
}

/// A node with GPUs on which no process runs.
pub fn parked(name: &str, devices: Vec<Device>, free: u32) -> Worker {
    let wanted = u32::try_from(devices.len()).expect("few devices");
    Worker {
        state: WorkerState::Parked,
        gpus: Some(GpuClaim {
            wanted,
            free,
            holders: (free..wanted).map(|n| format!("games/doom-{n}")).collect(),
        }),
        ..worker(name, devices)
    }
}

/// A node with GPUs that nobody has looked at.
pub fn unknown(name: &str) -> Worker {
    Worker {
        state: WorkerState::Parked,
        devices: Devices::Unmeasured { kind: DeviceKind::Cuda },
        gpus: Some(GpuClaim { wanted: 1, free: 1, holders: Vec::new() }),
        ..worker(name, Vec::new())
    }
}

pub fn joined(name: &str, device: Device) -> Worker {
    Worker { kind: WorkerKind::Joined, release: Release::Never, ..worker(name, vec![device]) }
}

pub fn model(name: &str, dims: Dims) -> Model {
    Model {
        key: ModelKey::new("default", name),
        created: 0,
        priority: 0,
        replicas: 1,
        file: Resolution::Resolved(ModelFile {
            id: format!("https://hub/{name}.gguf@1"),
            bytes: dims.weights_packed_bytes,
            dims,
        }),
        context: Context { min: 4096, max: 16384 },
        sequences: 1,
        kv_type: KvType::F16,
        placement: Placement::default(),
        setbacks: Vec::new(),
        current: Vec::new(),
    }
}

/// What is observed once a plan has been carried out.
pub fn carried_out(mut observed: Observed, plan: &Plan) -> Observed {
    for model in &mut observed.models {
        let planned = plan.model(&model.key).expect("every model is planned");
        let old = std::mem::take(&mut model.current);
        for replica in &old {
            if let Some(worker) = observed.workers.iter_mut().find(|w| w.name == replica.worker) {
                worker.stored.insert(replica.file.clone());
            }
        }
        for r in planned.replicas.iter().chain(&planned.lingering) {
            let kept = old.iter().find(|o| r.change == Change::Keep && o.ordinal == r.ordinal);
            model.current.push(match (kept, &model.file) {
                (Some(kept), _) => Replica { replaces: r.replaces, ..kept.clone() },
                (None, Resolution::Resolved(file)) => Replica {
                    ordinal: r.ordinal,
                    worker: r.worker.clone(),
                    device: r.device.clone(),
                    context: r.context,
                    sequences: model.sequences,
                    kv_type: model.kv_type,
                    file: file.id.clone(),
                    footprint: r.footprint,
                    ready: true,
                    replaces: r.replaces,
                },
                (None, Resolution::Unresolved(why)) => panic!("loads a file that is unresolved: {why}"),
            });
        }
    }
    for worker in &mut observed.workers {
        let planned = plan.worker(&worker.name).expect("every Worker is planned");
        worker.state = match planned.action {
            // One that must be measured is left as it was: what it has is not ours to invent.
            WorkerAction::Keep | WorkerAction::StartToMeasure => worker.state,
            WorkerAction::Start => WorkerState::Ready,
            WorkerAction::ParkIdle | WorkerAction::ParkClosed | WorkerAction::ParkTroubled => {
                WorkerState::Parked
            }
        };
        if planned.replicas > 0 {
            worker.idle_for = Duration::ZERO;
        }
    }
    observed
}

/// `model#ordinal -> worker/device` of everything placed.
pub fn places(plan: &Plan) -> BTreeMap<String, String> {
    plan.models
        .iter()
        .flat_map(|m| {
            m.replicas
                .iter()
                .map(|r| (format!("{}#{}", m.key.name, r.ordinal), format!("{}/{}", r.worker, r.device)))
        })
        .collect()
}

pub fn all_kept(plan: &Plan) -> bool {
    plan.models.iter().all(|m| m.removed.is_empty() && m.replicas.iter().all(|r| r.change == Change::Keep))
}

/// What is observed while the new replicas of a plan are still loaded.
pub fn under_way(observed: Observed, plan: &Plan) -> Observed {
    let mut observed = carried_out(observed, plan);
    for model in &mut observed.models {
        let planned = plan.model(&model.key).expect("every model is planned");
        for replica in &mut model.current {
            let is_new =
                |r: &hearth_plan::ReplicaPlan| r.ordinal == replica.ordinal && r.change != Change::Keep;
            replica.ready &= !planned.replicas.iter().any(is_new);
        }
    }
    observed
}
