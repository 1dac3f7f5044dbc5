//! Finds a place for one more replica without taking a level from those before it.
//!
//! Replicas that stay are where they are. The others may be exchanged among
//! devices of the class that they got, which the search tries depth first, the
//! largest first. Replicas of other classes are never in each other's way.

use crate::slots::Slot;

/// How well a replica is placed: the higher class first, and within a class
/// rather where it is than anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Where it is, as it is.
    Kept,
    /// Anew, on a device of this class.
    Class(u32),
}

/// A replica on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) slot: usize,
    pub(crate) bytes: u64,
    pub(crate) kept: bool,
}

/// What the search knows of a replica.
#[derive(Clone)]
pub(crate) struct Item {
    /// Replicas of one model are on different devices.
    pub(crate) model: usize,
    /// Where it runs, if it could stay there as it is.
    pub(crate) stay: Option<Choice>,
    /// Where else it could be, including the same slot anew.
    pub(crate) options: Vec<Choice>,
    /// Where it runs, also if it can't stay as it is.
    pub(crate) home: Option<usize>,
    /// Slots whose machine has the file.
    pub(crate) stored: Vec<usize>,
}

/// A replica that has its level, and for now this place.
#[derive(Clone, Copy)]
pub(crate) struct Accepted {
    pub(crate) item: usize,
    pub(crate) level: Level,
    pub(crate) choice: Choice,
}

/// A replica that runs, can stay, and has not had its turn.
#[derive(Clone, Copy)]
pub(crate) struct Standing {
    pub(crate) model: usize,
    pub(crate) choice: Choice,
}

/// A search over at most so many replicas of one class is meant to be exact.
const EXACT_UP_TO: usize = 12;
/// Nodes of such a search. Eight models on six devices take fewer; a search that
/// ends here counts as having found nothing.
const NODES: u32 = 50_000;
/// Nodes of a larger one, which only looks for an easy exchange: a round has one
/// such search for every replica that fits nowhere.
const NODES_BEYOND: u32 = 1_000;

pub(crate) struct Search<'a> {
    pub(crate) slots: &'a [Slot<'a>],
    pub(crate) items: &'a [Item],
}

/// What lies on every slot.
#[derive(Clone)]
pub(crate) struct Loads {
    bytes: Vec<u64>,
    /// Replicas that are not kept.
    fresh: Vec<u32>,
    models: Vec<Vec<usize>>,
}

impl Loads {
    pub(crate) fn none(slots: usize) -> Self {
        Self { bytes: vec![0; slots], fresh: vec![0; slots], models: vec![Vec::new(); slots] }
    }

    pub(crate) fn bytes(&self, slot: usize) -> u64 {
        self.bytes[slot]
    }

    pub(crate) fn push(&mut self, model: usize, choice: Choice) {
        // Saturating: what is on a slot already passed `fits`, or never will.
        self.bytes[choice.slot] = self.bytes[choice.slot].saturating_add(choice.bytes);
        self.fresh[choice.slot] += u32::from(!choice.kept);
        self.models[choice.slot].push(model);
    }

    fn pop(&mut self, choice: Choice) {
        self.bytes[choice.slot] -= choice.bytes;
        self.fresh[choice.slot] -= u32::from(!choice.kept);
        self.models[choice.slot].pop();
    }

    pub(crate) fn fits(&self, slots: &[Slot<'_>], model: usize, choice: Choice) -> bool {
        let slot = &slots[choice.slot];
        let all_kept = choice.kept && self.fresh[choice.slot] == 0;
        let room = if all_kept { slot.keep_room } else { slot.new_room };
        let total = self.bytes[choice.slot].checked_add(choice.bytes);
        total.is_some_and(|total| total <= room) && !self.models[choice.slot].contains(&model)
    }
}

impl Search<'_> {
    /// Gives an item a level if that is possible with what `accepted` and
    /// `standing` have, and adds it to `accepted`, whose places may change within
    /// their levels. `standing` are replicas that run and have not had their turn.
    pub(crate) fn accept(
        &self,
        accepted: &mut Vec<Accepted>,
        standing: &[Standing],
        item: usize,
        level: Level,
    ) -> bool {
        let mut loads = self.loads(accepted.iter(), standing);
        if let Some(choice) = self.best(&loads, item, level) {
            accepted.push(Accepted { item, level, choice });
            return true;
        }
        // Only those of the same class can make room, and none that are kept.
        let class = match level {
            Level::Class(class) => class,
            Level::Kept => match self.items[item].stay {
                Some(choice) => self.slots[choice.slot].class,
                None => return false,
            },
        };
        let is_movable = |a: &Accepted| a.level == Level::Class(class);
        let mut movable: Vec<Accepted> = accepted.iter().filter(|a| is_movable(a)).copied().collect();
        if movable.is_empty() {
            return false;
        }
        let Some(any) = self.choices(item, level).next() else { return false };
        movable.push(Accepted { item, level, choice: any });
        loads = self.loads(accepted.iter().filter(|a| !is_movable(a)), standing);
        if !self.could_fit(&loads, &movable, class) {
            return false;
        }
        let least = |a: &Accepted| self.choices(a.item, a.level).map(|c| c.bytes).min().unwrap_or(0);
        movable.sort_by_key(|a| (std::cmp::Reverse(least(a)), a.item));
        let alike = self.alike(&movable);
        let mut nodes = if movable.len() > EXACT_UP_TO { NODES_BEYOND } else { NODES };
        if !self.descend(&mut loads, &mut movable, 0, &alike, &mut nodes) {
            return false;
        }
        for moved in movable {
            match accepted.iter_mut().find(|a| a.item == moved.item) {
                Some(place) => *place = moved,
                None => accepted.push(moved),
            }
        }
        true
    }

    pub(crate) fn loads<'b>(
        &self,
        accepted: impl Iterator<Item = &'b Accepted>,
        standing: &[Standing],
    ) -> Loads {
        let mut loads = Loads::none(self.slots.len());
        for a in accepted {
            loads.push(self.items[a.item].model, a.choice);
        }
        for standing in standing {
            loads.push(standing.model, standing.choice);
        }
        loads
    }

    fn choices(&self, item: usize, level: Level) -> impl Iterator<Item = Choice> + '_ {
        let item = &self.items[item];
        let stay = item.stay.filter(|_| level == Level::Kept);
        let anew =
            item.options.iter().copied().filter(move |c| level == Level::Class(self.slots[c.slot].class));
        stay.into_iter().chain(anew)
    }

    /// The best place with everything else where it is.
    fn best(&self, loads: &Loads, item: usize, level: Level) -> Option<Choice> {
        let Item { model, home, stored, .. } = &self.items[item];
        self.choices(item, level).filter(|c| loads.fits(self.slots, *model, *c)).max_by_key(|c| {
            let slot = &self.slots[c.slot];
            let beside_own = (0..self.slots.len()).any(|other| {
                self.slots[other].worker.name == slot.worker.name && loads.models[other].contains(model)
            });
            (
                *home == Some(c.slot),
                slot.bandwidth,
                stored.contains(&c.slot),
                !beside_own,
                slot.new_room.saturating_sub(loads.bytes[c.slot]),
                std::cmp::Reverse(c.slot),
            )
        })
    }

    /// A necessary condition: the room of the class holds the sum of the smallest sizes.
    fn could_fit(&self, loads: &Loads, movable: &[Accepted], class: u32) -> bool {
        let room: u128 = (0..self.slots.len())
            .filter(|slot| self.slots[*slot].class == class)
            .map(|slot| u128::from(self.slots[slot].keep_room.saturating_sub(loads.bytes[slot])))
            .sum();
        let wanted: u128 = movable
            .iter()
            .map(|a| u128::from(self.choices(a.item, a.level).map(|c| c.bytes).min().unwrap_or(u64::MAX)))
            .sum();
        wanted <= room
    }

    /// For every slot, the first one that all these items see as the same but for
    /// what lies on it.
    fn alike(&self, movable: &[Accepted]) -> Vec<usize> {
        let view = |slot: usize| {
            let sizes: Vec<Option<Choice>> = movable
                .iter()
                .map(|a| {
                    self.choices(a.item, a.level).find(|c| c.slot == slot).map(|c| Choice { slot: 0, ..c })
                })
                .collect();
            (self.slots[slot].keep_room, self.slots[slot].new_room, sizes)
        };
        let views: Vec<_> = (0..self.slots.len()).map(view).collect();
        views.iter().map(|v| views.iter().position(|w| w == v).unwrap_or_default()).collect()
    }

    fn descend(
        &self,
        loads: &mut Loads,
        movable: &mut [Accepted],
        depth: usize,
        alike: &[usize],
        nodes: &mut u32,
    ) -> bool {
        let Some(&Accepted { item, level, choice: before }) = movable.get(depth) else { return true };
        let model = self.items[item].model;
        let mut choices: Vec<Choice> = self.choices(item, level).collect();
        // Where it was first, so that a solution differs little from what was there.
        choices.sort_by_key(|c| {
            (c.slot != before.slot, std::cmp::Reverse(self.slots[c.slot].bandwidth), c.slot)
        });
        for at in 0..choices.len() {
            let choice = choices[at];
            let same = |other: &Choice| {
                alike[other.slot] == alike[choice.slot]
                    && loads.bytes[other.slot] == loads.bytes[choice.slot]
                    && loads.fresh[other.slot] == loads.fresh[choice.slot]
                    && loads.models[other.slot] == loads.models[choice.slot]
            };
            if !loads.fits(self.slots, model, choice) || choices[..at].iter().any(same) {
                continue;
            }
            let Some(left) = nodes.checked_sub(1) else { return false };
            *nodes = left;
            loads.push(model, choice);
            let found = self.descend(loads, movable, depth + 1, alike, nodes);
            loads.pop(choice);
            if found {
                movable[depth].choice = choice;
                return true;
            }
        }
        false
    }
}
