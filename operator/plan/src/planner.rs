//! The rounds of one planning: candidates, order, levels, contexts, machines.

use hearth_model::{Footprint, footprint::footprint};

use crate::{
    Observed,
    candidates::{Candidates, candidates, shape},
    decision::{Change, DeviceLoad, ModelPlan, MoveReason, Plan, Removal, RemoveReason, ReplicaPlan},
    grow::longest,
    observed::{Model, ModelFile, Replica, Resolution, Worker},
    rank::{Unit, rank},
    rejection::{Candidate, Held, Reason, Rejection},
    search::{Accepted, Choice, Item, Level, Loads, Search, Standing},
    slots::{Slot, slots},
    workers::workers,
};

/// Decides what runs where. See the crate's documentation for the rule.
#[must_use]
pub fn plan(observed: &Observed) -> Plan {
    let mut machines: Vec<&Worker> = observed.workers.iter().collect();
    machines.sort_by(|a, b| a.name.cmp(&b.name));
    let mut models: Vec<&Model> = observed.models.iter().collect();
    models.sort_by(|a, b| a.key.cmp(&b.key));
    let slots = slots(&machines);
    let found: Vec<Candidates<'_>> = models.iter().map(|m| candidates(m, &machines, &slots)).collect();

    let (units, surplus) =
        rank(&models, |model, replica| stay(models[model], &found[model], &slots, replica).is_some());
    let items: Vec<Item> = units.iter().map(|u| item(u, models[u.model], &found[u.model], &slots)).collect();
    let placed = assign(&units, &items, &found, &slots);
    let placed = size(&units, &models, &slots, placed);

    let mut plans: Vec<ModelPlan> = models.iter().map(|model| empty(model)).collect();
    for (at, replica) in surplus {
        plans[at].removed.push(removal(replica, RemoveReason::ScaledDown));
    }
    for (unit, place) in units.iter().zip(&placed) {
        let plan = &mut plans[unit.model];
        let why = || left(unit, models[unit.model], &found[unit.model], &slots, &items);
        match (place, unit.current) {
            (Some(place), current) => plan.replicas.push(ReplicaPlan {
                ordinal: unit.ordinal,
                worker: slots[place.choice.slot].worker.name.clone(),
                device: slots[place.choice.slot].device.uuid.clone(),
                context: place.context,
                footprint: place.footprint,
                change: match current {
                    None => Change::Load,
                    Some(_) if place.choice.kept => Change::Keep,
                    Some(from) => Change::Move {
                        worker: from.worker.clone(),
                        device: from.device.clone(),
                        reason: why(),
                    },
                },
            }),
            (None, current) => {
                plan.missing += 1;
                plan.removed.extend(current.map(|r| removal(r, RemoveReason::NoPlace(why()))));
            }
        }
    }
    let loads = loads(&units, &placed, &slots);
    for (plan, found) in plans.iter_mut().zip(&found) {
        plan.replicas.sort_by_key(|r| r.ordinal);
        plan.removed.sort_by_key(|r| r.ordinal);
        if plan.missing > 0 {
            plan.measuring = found.unmeasured.iter().map(|(worker, _)| (*worker).to_owned()).collect();
        }
    }
    let held: Vec<Vec<Held>> = held(&units, &placed, &models, slots.len());
    for ((plan, model), found) in plans.iter_mut().zip(&models).zip(&found) {
        plan.rejected = rejections(plan, model, found, &slots, &loads, &held);
    }
    let (workers, recheck_after) = workers(&machines, &models, &plans);
    let devices = slots
        .iter()
        .enumerate()
        .map(|(at, slot)| DeviceLoad {
            worker: slot.worker.name.clone(),
            device: slot.device.uuid.clone(),
            total: slot.device.total,
            used_by_others: slot.device.used_by_others,
            reserved: loads.bytes(at),
            available: slot.new_room.saturating_sub(loads.bytes(at)),
        })
        .collect();
    Plan { models: plans, workers, devices, recheck_after }
}

fn empty(model: &Model) -> ModelPlan {
    ModelPlan {
        key: model.key.clone(),
        replicas: Vec::new(),
        removed: Vec::new(),
        missing: 0,
        measuring: Vec::new(),
        rejected: Vec::new(),
    }
}

fn removal(replica: &Replica, reason: RemoveReason) -> Removal {
    Removal {
        ordinal: replica.ordinal,
        worker: replica.worker.clone(),
        device: replica.device.clone(),
        reason,
    }
}

/// Where a replica would stay as it is: its device may still hold it, and it is
/// still what the model asks for.
fn stay(model: &Model, found: &Candidates<'_>, slots: &[Slot<'_>], replica: &Replica) -> Option<Choice> {
    let Resolution::Resolved(file) = &model.file else { return None };
    let asked = replica.file == file.id
        && replica.sequences == model.sequences
        && replica.kv_type == model.kv_type
        && (model.context.min..=model.context.max).contains(&replica.context);
    let slot = slot_of(slots, replica)?;
    (asked && found.option(slot).is_some()).then(|| Choice {
        slot,
        bytes: footprint_of(model, file, &slots[slot], replica).total(),
        kept: true,
    })
}

fn slot_of(slots: &[Slot<'_>], replica: &Replica) -> Option<usize> {
    slots.iter().position(|s| s.worker.name == replica.worker && s.device.uuid == replica.device)
}

/// What a running replica takes: as it was told, or computed where nobody did.
fn footprint_of(model: &Model, file: &ModelFile, slot: &Slot<'_>, replica: &Replica) -> Footprint {
    let computed = || {
        footprint(&file.dims, &shape(model, replica.context), slot.device.storage, &slot.device.overhead).ok()
    };
    match replica.footprint.total() {
        0 => computed().unwrap_or_default(),
        _ => replica.footprint,
    }
}

fn item(unit: &Unit<'_>, model: &Model, found: &Candidates<'_>, slots: &[Slot<'_>]) -> Item {
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
fn assign(
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
            if matches!(level, Level::Class(class) if unknown > Some(class)) {
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
fn levels(item: &Item, slots: &[Slot<'_>]) -> Vec<Level> {
    let mut classes: Vec<u32> = item.options.iter().map(|o| slots[o.slot].class).collect();
    classes.sort_unstable_by(|a, b| b.cmp(a));
    classes.dedup();
    item.stay.map(|_| Level::Kept).into_iter().chain(classes.into_iter().map(Level::Class)).collect()
}

/// A place with its size.
struct Placed {
    choice: Choice,
    context: u32,
    footprint: Footprint,
}

/// Gives new replicas the longest context, in order, and settles what every one takes.
fn size(
    units: &[Unit<'_>],
    models: &[&Model],
    slots: &[Slot<'_>],
    placed: Vec<Option<Choice>>,
) -> Vec<Option<Placed>> {
    let mut bytes = vec![0u64; slots.len()];
    for choice in placed.iter().flatten() {
        bytes[choice.slot] += choice.bytes;
    }
    units
        .iter()
        .zip(placed)
        .map(|(unit, choice)| {
            let choice = choice?;
            let (model, slot) = (models[unit.model], &slots[choice.slot]);
            let Resolution::Resolved(file) = &model.file else { return None };
            let (context, footprint) = match unit.current.filter(|_| choice.kept) {
                Some(replica) => (replica.context, footprint_of(model, file, slot, replica)),
                None => longest(model, file, slot, bytes[choice.slot] - choice.bytes)?,
            };
            bytes[choice.slot] = bytes[choice.slot] - choice.bytes + footprint.total();
            Some(Placed { choice: Choice { bytes: footprint.total(), ..choice }, context, footprint })
        })
        .collect()
}

/// Why a unit's replica can't stay as it was.
fn left(
    unit: &Unit<'_>,
    model: &Model,
    found: &Candidates<'_>,
    slots: &[Slot<'_>],
    items: &[Item],
) -> MoveReason {
    let Some(replica) = unit.current else { return MoveReason::DeviceGone };
    let is_here = |c: &Candidate| {
        c.worker == replica.worker && c.device.as_ref().is_none_or(|device| *device == replica.device)
    };
    if let Some(refusal) = found.refused.iter().find(|r| is_here(&r.candidate)) {
        return MoveReason::NotAllowed(refusal.reason.name().to_owned());
    }
    let Some(slot) = slot_of(slots, replica) else { return MoveReason::DeviceGone };
    if stay(model, found, slots, replica).is_none() {
        return MoveReason::SpecChanged;
    }
    let running: u64 = items
        .iter()
        .filter_map(|i| i.stay)
        .filter(|c| c.slot == slot)
        .fold(0, |sum, c| sum.saturating_add(c.bytes));
    if running > slots[slot].keep_room { MoveReason::MemoryShrank } else { MoveReason::MadeRoom }
}

fn loads(units: &[Unit<'_>], placed: &[Option<Placed>], slots: &[Slot<'_>]) -> Loads {
    let mut loads = Loads::none(slots.len());
    for (unit, place) in units.iter().zip(placed) {
        if let Some(place) = place {
            loads.push(unit.model, place.choice);
        }
    }
    loads
}

/// Who has what on every slot, the largest first.
fn held(units: &[Unit<'_>], placed: &[Option<Placed>], models: &[&Model], slots: usize) -> Vec<Vec<Held>> {
    let mut held: Vec<Vec<Held>> = vec![Vec::new(); slots];
    for (unit, place) in units.iter().zip(placed) {
        if let Some(place) = place {
            let model = models[unit.model].key.clone();
            held[place.choice.slot].push(Held { model, bytes: place.choice.bytes });
        }
    }
    for held in &mut held {
        held.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.model.cmp(&b.model)));
    }
    held
}

/// A reason for every candidate that the model did not get.
fn rejections(
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
    let mut rejections = found.refused.clone();
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
