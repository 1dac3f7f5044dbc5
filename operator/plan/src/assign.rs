//! Gives every wanted replica its place: the rule of the crate's documentation.

use hearth_model::{Footprint, footprint::footprint};

use crate::{
    candidates::{Candidates, shape},
    observed::{Model, Replica, Resolution, WorkerState},
    rank::Unit,
    search::{Accepted, Choice, Item, Level, Search, Standing},
    slots::Slot,
};

/// Where a replica would stay as it is: its device may still hold it, and it is
/// still what the model asks for.
pub(crate) fn stay(
    model: &Model,
    found: &Candidates<'_>,
    slots: &[Slot<'_>],
    replica: &Replica,
) -> Option<Choice> {
    let is_as_asked = match &model.file {
        Resolution::Resolved(file) => {
            replica.file == file.id
                && replica.sequences == model.sequences
                && replica.kv_type == model.kv_type
                && (model.context.min..=model.context.max).contains(&replica.context)
        }
        Resolution::Unresolved(_) => true,
    };
    let slot = slot_of(slots, replica)?;
    (is_as_asked && found.stays.contains(&slot)).then(|| Choice {
        slot,
        bytes: footprint_of(model, &slots[slot], replica).total(),
        kept: true,
    })
}

pub(crate) fn slot_of(slots: &[Slot<'_>], replica: &Replica) -> Option<usize> {
    slots.iter().position(|s| s.worker.name == replica.worker && s.device.uuid == replica.device)
}

/// What a running replica takes: as it was told, or computed where nobody did.
pub(crate) fn footprint_of(model: &Model, slot: &Slot<'_>, replica: &Replica) -> Footprint {
    match &model.file {
        Resolution::Resolved(file) if replica.footprint.total() == 0 => {
            let shape = shape(model, replica.context);
            footprint(&file.dims, &shape, slot.device.storage, &slot.device.overhead).unwrap_or_default()
        }
        _ => replica.footprint,
    }
}

/// Places until every machine that is aimed at runs: what runs and can stay does
/// not end for a place on a machine that must start first. That one is started,
/// and then moved to.
pub(crate) fn for_now(
    units: &[Unit<'_>],
    items: &[Item],
    found: &[Candidates<'_>],
    slots: &[Slot<'_>],
    aims: &[Option<Choice>],
) -> Vec<Option<Choice>> {
    let is_ready = |slot: usize| slots[slot].worker.state == WorkerState::Ready;
    let waits = |item: &Item, aim: &Option<Choice>| {
        item.stay
            .zip(*aim)
            .is_some_and(|(stay, aim)| slots[aim.slot].class > slots[stay.slot].class && !is_ready(aim.slot))
    };
    let mut waiting: Vec<bool> = items.iter().zip(aims).map(|(item, aim)| waits(item, aim)).collect();
    let mut placed = aims.to_vec();
    // Each round lets at least one go that can't stay after all.
    while waiting.contains(&true) {
        let reachable: Vec<Item> = items
            .iter()
            .zip(&waiting)
            .map(|(item, waiting)| match item.stay.filter(|_| *waiting) {
                None => item.clone(),
                Some(stay) => {
                    let mut item = item.clone();
                    item.options
                        .retain(|o| is_ready(o.slot) || slots[o.slot].class <= slots[stay.slot].class);
                    item
                }
            })
            .collect();
        placed = assign(units, &reachable, found, slots);
        let before = waiting.clone();
        for ((waiting, item), place) in waiting.iter_mut().zip(items).zip(&placed) {
            *waiting &= place.is_some_and(|p| Some(p) == item.stay || is_ready(p.slot));
        }
        if waiting == before {
            break;
        }
        placed = aims.to_vec();
    }
    placed
}

pub(crate) fn item(unit: &Unit<'_>, model: &Model, found: &Candidates<'_>, slots: &[Slot<'_>]) -> Item {
    let file = match &model.file {
        Resolution::Resolved(file) => Some(&file.id),
        Resolution::Unresolved(_) => None,
    };
    let is_stored = |slot: &Slot<'_>| {
        file.is_some_and(|id| {
            slot.worker.stored.contains(id)
                || model.current.iter().any(|r| r.worker == slot.worker.name && r.file == *id)
        })
    };
    Item {
        model: unit.model,
        stay: unit.current.and_then(|replica| stay(model, found, slots, replica)),
        options: found
            .options
            .iter()
            .map(|o| Choice { slot: o.slot, bytes: o.least.total(), kept: false })
            .collect(),
        home: unit.current.and_then(|replica| slot_of(slots, replica)),
        stored: (0..slots.len()).filter(|at| is_stored(&slots[*at])).collect(),
    }
}

/// Gives every unit, in order, the best level it can have.
pub(crate) fn assign(
    units: &[Unit<'_>],
    items: &[Item],
    found: &[Candidates<'_>],
    slots: &[Slot<'_>],
) -> Vec<Option<Choice>> {
    let search = Search { slots, items };
    let mut accepted: Vec<Accepted> = Vec::new();
    let mut waiting = vec![false; items.len()];
    for at in 0..items.len() {
        // Replicas that run and have not had their turn, as far as they can stay.
        let mut standing = Vec::new();
        let mut loads = search.loads(accepted.iter(), &[]);
        for later in &items[at + 1..] {
            let model = later.model;
            if let Some(choice) = later.stay.filter(|choice| loads.fits(slots, model, *choice)) {
                loads.push(model, choice);
                standing.push(Standing { model, choice });
            }
        }
        let unknown = found[units[at].model].unmeasured.iter().map(|(_, class)| *class).max();
        for level in levels(&items[at], slots) {
            // What has no place yet waits until a machine that may be faster is
            // measured; what runs does not end for that.
            if items[at].stay.is_none() && matches!(level, Level::Class(class) if unknown > Some(class)) {
                waiting[at] = true;
                break;
            }
            if search.accept(&mut accepted, &standing, at, level)
                || (!standing.is_empty() && search.accept(&mut accepted, &[], at, level))
            {
                break;
            }
        }
    }
    // A search that gave up may have left someone out for whom there is room.
    for at in (0..items.len()).filter(|at| !waiting[*at]) {
        if !accepted.iter().any(|a| a.item == at) {
            let _ = levels(&items[at], slots)
                .into_iter()
                .any(|level| search.accept(&mut accepted, &[], at, level));
        }
    }
    let mut placed = vec![None; items.len()];
    for Accepted { item, choice, .. } in accepted {
        placed[item] = Some(choice);
    }
    placed
}

/// The levels that an item may have, best first.
pub(crate) fn levels(item: &Item, slots: &[Slot<'_>]) -> Vec<Level> {
    let home = item.stay.map(|stay| slots[stay.slot].class);
    let mut classes: Vec<u32> = item.options.iter().map(|o| slots[o.slot].class).chain(home).collect();
    classes.sort_unstable_by(|a, b| b.cmp(a));
    classes.dedup();
    let levels = |class| {
        let kept = (home == Some(class)).then_some(Level::Kept);
        kept.into_iter().chain([Level::Class(class)])
    };
    classes.into_iter().flat_map(levels).collect()
}
