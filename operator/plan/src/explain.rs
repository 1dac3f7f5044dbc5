//! Why things are as they are: moves, ends and candidates not taken.

use crate::{
    assign::{slot_of, stay},
    candidates::Candidates,
    decision::{ModelPlan, MoveReason},
    observed::Model,
    planner::Placed,
    rank::Unit,
    rejection::{Candidate, Held, Reason, Rejection},
    search::{Item, Loads},
    slots::Slot,
};

/// Why a unit's replica can't stay as it was.
pub(crate) fn left(
    unit: &Unit<'_>,
    place: Option<&Placed>,
    model: &Model,
    found: &Candidates<'_>,
    slots: &[Slot<'_>],
    items: &[Item],
) -> MoveReason {
    let Some(replica) = unit.current else { return MoveReason::DeviceGone };
    let is_here = |c: &Candidate| {
        c.worker == replica.worker && c.device.as_ref().is_none_or(|device| *device == replica.device)
    };
    let refusal = found.refused.iter().find(|r| is_here(&r.candidate));
    if let Some(refusal) = refusal.filter(|r| !matches!(r.reason, Reason::Unresolved { .. })) {
        return MoveReason::NotAllowed(refusal.reason.name().to_owned());
    }
    let Some(slot) = slot_of(slots, replica) else { return MoveReason::DeviceGone };
    if stay(model, found, slots, replica).is_none() {
        return MoveReason::SpecChanged;
    }
    if place.is_some_and(|place| slots[place.choice.slot].class > slots[slot].class) {
        return MoveReason::Faster;
    }
    let running: u64 = items
        .iter()
        .filter_map(|i| i.stay)
        .filter(|c| c.slot == slot)
        .fold(0, |sum, c| sum.saturating_add(c.bytes));
    if running > slots[slot].keep_room { MoveReason::MemoryShrank } else { MoveReason::MadeRoom }
}

/// Who has what on every slot, the largest first.
pub(crate) fn held(present: &[(usize, Placed)], models: &[&Model], slots: usize) -> Vec<Vec<Held>> {
    let mut held: Vec<Vec<Held>> = vec![Vec::new(); slots];
    for (model, place) in present {
        let model = models[*model].key.clone();
        held[place.choice.slot].push(Held { model, bytes: place.choice.bytes });
    }
    for held in &mut held {
        held.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.model.cmp(&b.model)));
    }
    held
}

/// A reason for every candidate that the model did not get.
pub(crate) fn rejections(
    plan: &ModelPlan,
    model: &Model,
    found: &Candidates<'_>,
    slots: &[Slot<'_>],
    loads: &Loads,
    held: &[Vec<Held>],
) -> Vec<Rejection> {
    if model.replicas == 0 {
        return Vec::new();
    }
    let taken: Vec<usize> = plan
        .replicas
        .iter()
        .filter_map(|r| slots.iter().position(|s| s.worker.name == r.worker && s.device.uuid == r.device))
        .collect();
    let slowest = taken.iter().min_by_key(|at| slots[**at].bandwidth);
    let is_own = |c: &Candidate| {
        plan.replicas.iter().any(|r| c.worker == r.worker && c.device.as_ref() == Some(&r.device))
    };
    let mut rejections = found.refused.clone();
    rejections.retain(|r| plan.missing > 0 || !is_own(&r.candidate));
    for own in rejections.iter_mut().filter(|r| is_own(&r.candidate)) {
        own.reason = Reason::HasReplica;
    }
    rejections.extend(found.unmeasured.iter().map(|(worker, _)| Rejection {
        candidate: Candidate { worker: (*worker).to_owned(), device: None },
        reason: Reason::NotMeasured,
    }));
    for option in &found.options {
        let slot = &slots[option.slot];
        let is_taken = taken.contains(&option.slot);
        let available = slot.new_room.saturating_sub(loads.bytes(option.slot));
        let reason = if is_taken {
            if plan.missing == 0 {
                continue;
            }
            Reason::HasReplica
        } else if option.least.total() > available {
            Reason::InsufficientMemory {
                needs: option.least,
                context: model.context.min,
                sequences: model.sequences,
                total: slot.device.total,
                used_by_others: slot.device.used_by_others,
                reserve: slot.device.reserve,
                held: held[option.slot].clone(),
                available,
            }
        } else {
            match slowest {
                Some(slowest) if plan.missing == 0 => Reason::NotNeeded {
                    taken: Candidate::slot(&slots[*slowest]),
                    taken_bandwidth: slots[*slowest].bandwidth,
                    bandwidth: slot.bandwidth,
                },
                _ => Reason::AwaitsMeasurement { workers: plan.measuring.clone() },
            }
        };
        rejections.push(Rejection { candidate: Candidate::slot(slot), reason });
    }
    rejections.sort_by(|a, b| a.candidate.cmp(&b.candidate));
    rejections
}
