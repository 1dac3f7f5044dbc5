//! Which devices a model may have, memory aside, and why not the others.

use hearth_model::{
    Footprint, Shape,
    footprint::{DeviceKind, footprint},
};

use crate::{
    bandwidth::{bandwidth, class},
    observed::{Device, Model, ModelFile, Resolution, Worker, WorkerKind, WorkerState},
    rejection::{Candidate, Reason, Rejection},
    slots::{Offer, Slot},
};

/// The candidates of one model.
pub(crate) struct Candidates<'a> {
    /// Devices it may have, by slot.
    pub(crate) options: Vec<Candidacy>,
    /// Devices where a replica that runs may stay. More than `options` while the
    /// file is not resolved: what runs does not end because a source is down.
    pub(crate) stays: Vec<usize>,
    /// Machines that must run once before it is known what they have, with the
    /// presumed class of their devices.
    pub(crate) unmeasured: Vec<(&'a str, u32)>,
    /// Everything else.
    pub(crate) refused: Vec<Rejection>,
}

/// A device that a model may have.
pub(crate) struct Candidacy {
    pub(crate) slot: usize,
    /// What a replica with the smallest context takes there.
    pub(crate) least: Footprint,
}

/// Sorts every machine and device into one of the three.
pub(crate) fn candidates<'a>(model: &Model, workers: &[&'a Worker], slots: &[Slot<'a>]) -> Candidates<'a> {
    let mut found =
        Candidates { options: Vec::new(), stays: Vec::new(), unmeasured: Vec::new(), refused: Vec::new() };
    for worker in workers {
        let file = match &model.file {
            Resolution::Resolved(file) => Ok(file),
            Resolution::Unresolved(why) => Err(Reason::Unresolved { why: why.clone() }),
        };
        let refusal = refuses(worker, model).or_else(|| store_refuses(worker, model, file.as_ref().ok()?));
        match worker.offer() {
            Offer::Unmeasured(kind) => {
                let refusal = refusal.or_else(|| {
                    // A UUID or product can't be judged before it is read.
                    let excluded = model.placement.devices.iter().all(|d| is_other_kind(d, kind));
                    (excluded && !model.placement.devices.is_empty())
                        .then(|| Reason::DeviceExcluded { wanted: model.placement.devices.clone() })
                });
                let refusal = refusal.or_else(|| file.err());
                match refusal {
                    Some(reason) => {
                        found.refused.push(Rejection { candidate: Candidate::worker(worker), reason });
                    }
                    None => found.unmeasured.push((&worker.name, class(bandwidth(kind, "")))),
                }
            }
            Offer::Known([]) => {
                let reason = refusal.or_else(|| file.err()).unwrap_or(Reason::NoDevice);
                found.refused.push(Rejection { candidate: Candidate::worker(worker), reason });
            }
            Offer::Known(_) => {
                for (at, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.worker.name == worker.name)
                {
                    if let Some(reason) = refusal.clone().or_else(|| device_refuses(slot.device, model)) {
                        found.refuse(slot, reason);
                        continue;
                    }
                    found.stays.push(at);
                    match file.clone().and_then(|file| least(model, file, slot.device)) {
                        Ok(least) => found.options.push(Candidacy { slot: at, least }),
                        Err(reason) => found.refuse(slot, reason),
                    }
                }
            }
        }
    }
    found.avoid(model, slots);
    found
}

impl Candidates<'_> {
    /// Leaves out the devices where the file can't be loaded, as long as there are
    /// others. What can't be loaded anywhere stays where that is seen.
    fn avoid(&mut self, model: &Model, slots: &[Slot<'_>]) {
        let setback = |at: usize| {
            let slot = &slots[at];
            model.setbacks.iter().find(|s| s.worker == slot.worker.name && s.device == slot.device.uuid)
        };
        if self.unmeasured.is_empty() && self.options.iter().all(|option| setback(option.slot).is_some()) {
            return;
        }
        for (at, slot) in slots.iter().enumerate().filter(|(at, _)| self.stays.contains(at)) {
            if let Some(setback) = setback(at) {
                let reason = Reason::LoadFailed { message: setback.message.clone() };
                self.refused.push(Rejection { candidate: Candidate::slot(slot), reason });
            }
        }
        self.stays.retain(|at| setback(*at).is_none());
        self.options.retain(|option| setback(option.slot).is_none());
    }

    fn refuse(&mut self, slot: &Slot<'_>, reason: Reason) {
        self.refused.push(Rejection { candidate: Candidate::slot(slot), reason });
    }
}

/// Why a machine does not take a model, whatever its devices.
fn refuses(worker: &Worker, model: &Model) -> Option<Reason> {
    if worker.closed {
        return Some(Reason::WorkerClosed);
    }
    match worker.state {
        WorkerState::Gone => return Some(Reason::WorkerGone),
        WorkerState::Draining => return Some(Reason::WorkerDraining),
        WorkerState::Parked | WorkerState::Starting | WorkerState::Ready => {}
    }
    if !worker.namespaces.contains(&model.key.namespace) {
        return Some(Reason::NamespaceNotAllowed { namespace: model.key.namespace.clone() });
    }
    if worker.kind == WorkerKind::Joined && !model.placement.joined {
        return Some(Reason::JoinedDenied);
    }
    if !model.placement.selector.matches(&worker.labels) {
        return Some(Reason::SelectorMismatch { selector: model.placement.selector.to_string() });
    }
    if let Some(trouble) = &worker.trouble {
        return Some(Reason::CannotStart {
            reason: trouble.reason.clone(),
            message: trouble.message.clone(),
        });
    }
    if worker.state == WorkerState::Parked
        && let Some(claim) = worker.gpus.as_ref().filter(|claim| claim.free < claim.wanted)
    {
        return Some(Reason::GpusTaken {
            wanted: claim.wanted,
            free: claim.free,
            holders: claim.holders.clone(),
        });
    }
    None
}

/// Why a machine's store does not take a file.
fn store_refuses(worker: &Worker, model: &Model, file: &ModelFile) -> Option<Reason> {
    let is_there = worker.stored.contains(&file.id)
        || model.current.iter().any(|r| r.worker == worker.name && r.file == file.id);
    match worker.store_free {
        Some(free) if !is_there && free < file.bytes => Some(Reason::StoreFull { needs: file.bytes, free }),
        _ => None,
    }
}

/// Why a model may not have a device, memory aside.
fn device_refuses(device: &Device, model: &Model) -> Option<Reason> {
    let wanted = &model.placement.devices;
    if !wanted.is_empty() && !wanted.iter().any(|w| names(w, device)) {
        return Some(Reason::DeviceExcluded { wanted: wanted.clone() });
    }
    device.failed.as_ref().map(|message| Reason::DeviceFailed { message: message.clone() })
}

/// What the model takes on a device at its smallest context.
fn least(model: &Model, file: &ModelFile, device: &Device) -> Result<Footprint, Reason> {
    footprint(&file.dims, &shape(model, model.context.min), device.storage, &device.overhead)
        .map_err(|error| Reason::Unresolved { why: error.to_string() })
}

/// What is asked of a replica of a model, at some context.
pub(crate) fn shape(model: &Model, context_tokens: u32) -> Shape {
    Shape { context_tokens, sequences: model.sequences, kv_type: model.kv_type }
}

const KINDS: [(&str, DeviceKind); 4] = [
    ("cuda", DeviceKind::Cuda),
    ("metal", DeviceKind::Metal),
    ("vulkan", DeviceKind::Vulkan),
    ("cpu", DeviceKind::Cpu),
];

fn kind(wanted: &str) -> Option<DeviceKind> {
    KINDS.into_iter().find_map(|(name, kind)| wanted.eq_ignore_ascii_case(name).then_some(kind))
}

fn is_other_kind(wanted: &str, device: DeviceKind) -> bool {
    kind(wanted).is_some_and(|kind| kind != device)
}

/// Whether an entry of `placement.devices` means a device: its kind, its UUID, or
/// a part of its product's name, in which a label writes spaces as dashes.
fn names(wanted: &str, device: &Device) -> bool {
    let plain = |text: &str| text.to_lowercase().replace('-', " ");
    match kind(wanted) {
        Some(kind) => kind == device.kind,
        None => wanted.eq_ignore_ascii_case(&device.uuid) || plain(&device.product).contains(&plain(wanted)),
    }
}
