//! Who steps next, where several models are on one device.

use std::time::Duration;

/// The device time that a model has had, counted so that models which have work at
/// the same time get as much of it each, however long their steps are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    used: Duration,
    /// Whether it had work when it was last looked at.
    active: bool,
}

/// Shares a device's time among models.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// What the model that stepped last had had by then. Nobody who has work had less.
    floor: Duration,
}

impl Shares {
    /// The place of the model that steps next: of those that have work, the one that
    /// had the least time. Who had none to do saves nothing up for later.
    pub(super) fn next<'a>(&mut self, models: impl Iterator<Item = (bool, &'a mut Share)>) -> Option<usize> {
        let mut least: Option<(Duration, usize)> = None;
        for (place, (has_work, share)) in models.enumerate() {
            if has_work && !share.active {
                share.used = share.used.max(self.floor);
            }
            share.active = has_work;
            if has_work && least.is_none_or(|(used, _)| share.used < used) {
                least = Some((share.used, place));
            }
        }
        let (used, place) = least?;
        self.floor = used;
        Some(place)
    }
}

impl Share {
    /// Counts a step.
    pub(super) fn took(&mut self, time: Duration) {
        self.used += time;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Share, Shares};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    proptest! {
        #[test]
        fn who_has_work_all_the_time_gets_as_much_of_it(
            steps in prop::collection::vec(1u64..500, 1..5), rounds in 100usize..400,
        ) {
            let mut shares = Shares::default();
            let mut models = vec![Share::default(); steps.len()];
            let mut had = vec![0; steps.len()];
            for _ in 0..rounds {
                let next = shares.next(models.iter_mut().map(|share| (true, share))).unwrap();
                models[next].took(ms(steps[next]));
                had[next] += steps[next];
            }
            let (least, most) = (had.iter().min().unwrap(), had.iter().max().unwrap());
            prop_assert!(most - least <= *steps.iter().max().unwrap(), "{had:?} of {steps:?}");
        }
    }

    #[test]
    fn who_was_idle_gets_its_turn_and_no_more() {
        let mut shares = Shares::default();
        let mut models = [Share::default(); 2];
        for _ in 0..1000 {
            assert_eq!(shares.next([true, false].into_iter().zip(&mut models)), Some(0));
            models[0].took(ms(10));
        }
        let mut had = [0, 0];
        for _ in 0..100 {
            let next = shares.next([true, true].into_iter().zip(&mut models)).unwrap();
            models[next].took(ms(10));
            had[next] += 1;
        }
        assert!((49..=51).contains(&had[1]), "{had:?}");
        assert_eq!(shares.next([false, false].into_iter().zip(&mut models)), None);
    }
}
