//! Moves to a faster device without a gap: the replica there is loaded beside the
//! old one, which serves until the new one is ready. The two have different ordinals,
//! as any two replicas.
//!
//! The old one keeps its place only while nobody needs the memory: it has had its
//! turn, and its model is served either way.

use crate::{
    assign::stay,
    candidates::Candidates,
    decision::{Change, RemoveReason, ReplicaPlan},
    observed::{Model, Replica},
    planner::Placed,
    rank::Unit,
    search::{Choice, Loads},
    slots::Slot,
};

/// What runs of all models, sorted by what is decided about it.
pub(crate) struct Succession<'a> {
    /// Of each model: replicas that are planned for.
    pub(crate) living: Vec<Vec<&'a Replica>>,
    /// Replicas whose successor is not ready, with their model and the successor's ordinal.
    elders: Vec<(usize, &'a Replica, u32)>,
    /// Replicas that end, with their model.
    pub(crate) ended: Vec<(usize, &'a Replica, RemoveReason)>,
}

/// Sorts what runs. `can_stay` says which replicas could stay as they are.
pub(crate) fn succession<'a>(
    models: &[&'a Model],
    can_stay: impl Fn(usize, &Replica) -> bool,
) -> Succession<'a> {
    let mut found =
        Succession { living: Vec::with_capacity(models.len()), elders: Vec::new(), ended: Vec::new() };
    for (at, model) in models.iter().enumerate() {
        let mut living: Vec<&Replica> = model.current.iter().collect();
        let mut heirs: Vec<&Replica> = living.iter().copied().filter(|r| r.replaces.is_some()).collect();
        heirs.sort_by_key(|heir| heir.ordinal);
        for heir in heirs {
            let elder = |r: &&&Replica| Some(r.ordinal) == heir.replaces && r.ordinal != heir.ordinal;
            let Some(elder) = living.iter().find(elder).copied() else { continue };
            // An heir may itself have been found wanting for the one that it replaces.
            if !living.iter().any(|r| std::ptr::eq(*r, heir)) {
                continue;
            }
            let leaves = if can_stay(at, heir) {
                match heir.ready {
                    true => found.ended.push((at, elder, RemoveReason::Replaced)),
                    false => found.elders.push((at, elder, heir.ordinal)),
                }
                elder
            } else {
                found.ended.push((at, heir, RemoveReason::NotNeeded));
                heir
            };
            living.retain(|r| !std::ptr::eq(*r, leaves));
        }
        found.living.push(living);
    }
    found
}

/// A replica that serves on while its successor is loaded.
#[derive(Clone, Copy)]
pub(crate) struct Lingering<'a> {
    /// Index of the unit of its successor.
    pub(crate) heir: usize,
    /// Whether the move begins now: its successor is not there yet.
    pub(crate) begins: bool,
    pub(crate) replica: &'a Replica,
    pub(crate) choice: Choice,
}

/// Which replicas serve on beside what was `placed`: those that begin to move to a
/// faster device, and those whose successor is still not ready, in the units' order
/// and as far as there is room. The others of the elders end.
pub(crate) fn lingering<'a>(
    units: &[Unit<'a>],
    models: &[&Model],
    placed: &[Option<Choice>],
    succession: &mut Succession<'a>,
    found: &[Candidates<'_>],
    slots: &[Slot<'_>],
) -> Vec<Lingering<'a>> {
    let mut loads = Loads::none(slots.len());
    for (unit, choice) in units.iter().zip(placed) {
        choice.iter().for_each(|choice| loads.push(unit.model, *choice));
    }
    let mut lingering = Vec::new();
    let mut elders = std::mem::take(&mut succession.elders);
    for (heir, (unit, choice)) in units.iter().zip(placed).enumerate() {
        let Some(choice) = choice else { continue };
        let is_mine = |(model, _, ordinal): &(usize, &Replica, u32)| {
            *model == unit.model && *ordinal == unit.ordinal && unit.current.is_some()
        };
        let (replica, begins) = match elders.iter().position(is_mine) {
            Some(at) => (elders.swap_remove(at).1, false),
            // A replica that is itself not ready has nothing to serve on with.
            None => match unit.current.filter(|replica| !choice.kept && replica.ready) {
                Some(replica) => (replica, true),
                None => continue,
            },
        };
        let stays = stay(models[unit.model], &found[unit.model], slots, replica);
        let is_slower = |stays: &Choice| slots[stays.slot].class < slots[choice.slot].class;
        match stays.filter(is_slower).filter(|stays| loads.fits(slots, unit.model, *stays)) {
            Some(stays) => {
                loads.push(unit.model, stays);
                lingering.push(Lingering { heir, replica, begins, choice: stays });
            }
            // It moves in one step, and keeps its ordinal.
            None if begins => {}
            None => succession.ended.push((unit.model, replica, RemoveReason::Replaced)),
        }
    }
    // Of a successor that has no place any more, or another one, or is not wanted.
    succession
        .ended
        .extend(elders.into_iter().map(|(model, elder, _)| (model, elder, RemoveReason::Replaced)));
    lingering
}

/// The ordinals of those that begin to move, in the order of `lingering`: none that a
/// replica of the model has, is to have or had a moment ago.
pub(crate) fn fresh_ordinals(
    lingering: &[Lingering<'_>],
    units: &[Unit<'_>],
    models: &[&Model],
) -> Vec<Option<u32>> {
    let mut taken: Vec<(usize, u32)> = units.iter().map(|unit| (unit.model, unit.ordinal)).collect();
    let mut fresh = Vec::with_capacity(lingering.len());
    for elder in lingering {
        let model = units[elder.heir].model;
        let is_free = |ordinal: &u32| {
            let is_other = |r: &Replica| r.ordinal != *ordinal;
            models[model].current.iter().all(is_other) && !taken.contains(&(model, *ordinal))
        };
        let ordinal = if elder.begins { (0..).find(is_free) } else { None };
        taken.extend(ordinal.map(|ordinal| (model, ordinal)));
        fresh.push(ordinal);
    }
    fresh
}

impl Lingering<'_> {
    /// What is planned for it: to stay as it is.
    pub(crate) fn plan(&self, model: &Model, slots: &[Slot<'_>]) -> ReplicaPlan {
        let slot = &slots[self.choice.slot];
        ReplicaPlan {
            ordinal: self.replica.ordinal,
            worker: slot.worker.name.clone(),
            device: slot.device.uuid.clone(),
            context: self.replica.context,
            footprint: crate::assign::footprint_of(model, slot, self.replica),
            change: Change::Keep,
            replaces: None,
        }
    }

    /// As it lies on its device.
    pub(crate) fn placed(&self, model: &Model, slots: &[Slot<'_>]) -> Placed {
        let footprint = crate::assign::footprint_of(model, &slots[self.choice.slot], self.replica);
        Placed { choice: self.choice, context: self.replica.context, footprint }
    }
}
