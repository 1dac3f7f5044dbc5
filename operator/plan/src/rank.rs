//! Who goes first.

use std::cmp::Reverse;

use crate::observed::{Model, Replica};

/// A replica that is wanted.
pub(crate) struct Unit<'a> {
    /// Index into the models.
    pub(crate) model: usize,
    /// The replica's number for its whole life.
    pub(crate) ordinal: u32,
    /// The replica as it was last ordered, if it was.
    pub(crate) current: Option<&'a Replica>,
    /// How many of the model's replicas go before it.
    nth: u32,
}

/// The wanted replicas of all models in the order in which they are placed, and
/// the replicas that are no longer wanted, with their model.
///
/// `living` are the replicas that count as those of each model. `can_stay` says which replicas could stay as they are: those are kept first
/// when fewer are wanted. `class` is that of a replica's device, if it is there.
pub(crate) fn rank<'a>(
    models: &[&'a Model],
    living: &[Vec<&'a Replica>],
    can_stay: impl Fn(usize, &Replica) -> bool,
    class: impl Fn(&Replica) -> Option<u32>,
) -> (Vec<Unit<'a>>, Vec<(usize, &'a Replica)>) {
    let mut units = Vec::new();
    let mut surplus = Vec::new();
    for (at, model) in models.iter().enumerate() {
        let mut current = living[at].clone();
        current.sort_by_key(|r| (!can_stay(at, r), r.ordinal));
        let wanted = usize::try_from(model.replicas).unwrap_or(usize::MAX);
        surplus.extend(current.iter().skip(wanted).map(|r| (at, *r)));
        // An ordinal that ends in this plan is not given away in it: an identity
        // stands for one replica at a time.
        let fresh =
            (0..).filter(|ordinal| model.current.iter().all(|r| r.ordinal != *ordinal)).map(|o| (o, None));
        let kept = current.iter().map(|r| (r.ordinal, Some(*r)));
        units.extend((0..model.replicas).zip(kept.chain(fresh)).map(|(nth, (ordinal, current))| Unit {
            model: at,
            ordinal,
            current,
            nth,
        }));
    }
    units.sort_by_cached_key(|unit| {
        let model = models[unit.model];
        // Of equal priority, who runs goes before who does not, and who runs fast
        // before who runs slowly: nobody is moved down for an equal.
        let runs = unit.current.map(|replica| class(replica).unwrap_or(0));
        (Reverse(model.priority), Reverse(runs), unit.nth, model.created, model.key.clone())
    });
    (units, surplus)
}
