//! The rounds of one planning: candidates, order, levels, contexts, machines.

use std::collections::BTreeSet;

use hearth_model::Footprint;

use crate::{
    Observed,
    assign::{assign, footprint_of, for_now, item, slot_of, stay},
    candidates::{Candidates, candidates},
    decision::{Change, DeviceLoad, ModelPlan, Plan, Rank, Removal, RemoveReason, ReplicaPlan, Turn},
    explain::{held, left, rejections},
    grow::longest,
    observed::{Model, Replica, Resolution, Worker},
    rank::{Unit, rank},
    rejection::Held,
    search::{Choice, Item, Loads},
    slots::{Slot, slots},
    succession::{Lingering, fresh_ordinals, lingering, succession},
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

    let mut succession =
        succession(&models, |model, replica| stay(models[model], &found[model], &slots, replica).is_some());
    let (units, surplus) = rank(
        &models,
        &succession.living,
        |model, replica| stay(models[model], &found[model], &slots, replica).is_some(),
        |replica| slot_of(&slots, replica).map(|slot| slots[slot].class),
    );
    let items: Vec<Item> = units.iter().map(|u| item(u, models[u.model], &found[u.model], &slots)).collect();
    let aims = assign(&units, &items, &found, &slots);
    let turns = turns(&units, &models, &aims, &slots);
    let placed = for_now(&units, &items, &found, &slots, &aims);
    let aims: BTreeSet<&str> = aims
        .iter()
        .zip(&placed)
        .filter_map(|(aim, place)| aim.as_ref().zip(place.as_ref()))
        .filter(|(aim, place)| place.kept && slots[aim.slot].class > slots[place.slot].class)
        .map(|(aim, _)| slots[aim.slot].worker.name.as_str())
        .collect();
    let lingering = lingering(&units, &models, &placed, &mut succession, &found, &slots);
    let fresh = fresh_ordinals(&lingering, &units, &models);
    let placed = size(&units, &models, &slots, placed, &lingering);

    let mut plans: Vec<ModelPlan> = models.iter().map(|model| empty(model)).collect();
    for (at, replica) in surplus {
        plans[at].removed.push(removal(replica, RemoveReason::ScaledDown));
    }
    for (at, replica, reason) in &succession.ended {
        plans[*at].removed.push(removal(replica, reason.clone()));
    }
    for (nth, (unit, place)) in units.iter().zip(&placed).enumerate() {
        let plan = &mut plans[unit.model];
        let elder = lingering.iter().position(|lingering| lingering.heir == nth);
        let why = || left(unit, place.as_ref(), models[unit.model], &found[unit.model], &slots, &items);
        match (place, unit.current) {
            (Some(place), current) => plan.replicas.push(ReplicaPlan {
                // Beside the old one, the new one needs an ordinal of its own.
                ordinal: elder.and_then(|elder| fresh[elder]).unwrap_or(unit.ordinal),
                replaces: elder.map(|elder| lingering[elder].replica.ordinal),
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
    for elder in &lingering {
        let at = units[elder.heir].model;
        plans[at].lingering.push(elder.plan(models[at], &slots));
    }
    // What serves on has its memory like everything else from here on.
    let beside = lingering.iter().map(|elder| {
        let model = units[elder.heir].model;
        (model, elder.placed(models[model], &slots))
    });
    let present = units.iter().zip(placed).filter_map(|(unit, place)| Some((unit.model, place?)));
    let present: Vec<(usize, Placed)> = present.chain(beside).collect();
    let loads = loads(&present, &slots);
    for (plan, found) in plans.iter_mut().zip(&found) {
        plan.replicas.sort_by_key(|r| r.ordinal);
        plan.lingering.sort_by_key(|r| r.ordinal);
        plan.removed.sort_by_key(|r| r.ordinal);
        if plan.missing > 0 {
            plan.measuring = found.unmeasured.iter().map(|(worker, _)| (*worker).to_owned()).collect();
        }
    }
    let held: Vec<Vec<Held>> = held(&present, &models, slots.len());
    for ((plan, model), found) in plans.iter_mut().zip(&models).zip(&found) {
        plan.rejected = rejections(plan, model, found, &slots, &loads, &held);
    }
    let (workers, recheck_after) = workers(&machines, &models, &plans, &aims);
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
    Plan { models: plans, workers, devices, turns, recheck_after }
}

fn empty(model: &Model) -> ModelPlan {
    ModelPlan {
        key: model.key.clone(),
        replicas: Vec::new(),
        lingering: Vec::new(),
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

fn turns(units: &[Unit<'_>], models: &[&Model], placed: &[Option<Choice>], slots: &[Slot<'_>]) -> Vec<Turn> {
    let rank = |choice: &Option<Choice>| match choice {
        None => Rank::Nowhere,
        Some(choice) => Rank::Placed { class: slots[choice.slot].class, stays: choice.kept },
    };
    let turn = |(unit, choice): (&Unit<'_>, _)| Turn {
        model: models[unit.model].key.clone(),
        ordinal: unit.ordinal,
        level: rank(choice),
    };
    units.iter().zip(placed).map(turn).collect()
}

/// A place with its size.
pub(crate) struct Placed {
    pub(crate) choice: Choice,
    pub(crate) context: u32,
    pub(crate) footprint: Footprint,
}

/// Gives new replicas the longest context, in order, and settles what every one takes.
fn size(
    units: &[Unit<'_>],
    models: &[&Model],
    slots: &[Slot<'_>],
    placed: Vec<Option<Choice>>,
    lingering: &[Lingering<'_>],
) -> Vec<Option<Placed>> {
    let mut bytes = vec![0u64; slots.len()];
    for choice in placed.iter().flatten().chain(lingering.iter().map(|elder| &elder.choice)) {
        bytes[choice.slot] += choice.bytes;
    }
    units
        .iter()
        .zip(placed)
        .map(|(unit, choice)| {
            let choice = choice?;
            let (model, slot) = (models[unit.model], &slots[choice.slot]);
            let (context, footprint) = match (unit.current.filter(|_| choice.kept), &model.file) {
                (Some(replica), _) => (replica.context, footprint_of(model, slot, replica)),
                (None, Resolution::Resolved(file)) => {
                    longest(model, file, slot, bytes[choice.slot] - choice.bytes)?
                }
                (None, Resolution::Unresolved(_)) => return None,
            };
            bytes[choice.slot] = bytes[choice.slot] - choice.bytes + footprint.total();
            Some(Placed { choice: Choice { bytes: footprint.total(), ..choice }, context, footprint })
        })
        .collect()
}

fn loads(present: &[(usize, Placed)], slots: &[Slot<'_>]) -> Loads {
    let mut loads = Loads::none(slots.len());
    for (model, place) in present {
        loads.push(*model, place.choice);
    }
    loads
}
