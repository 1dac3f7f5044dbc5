//! What a step will take, learned from what steps took.

use std::time::Duration;

/// What the time of a step depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Work {
    /// Tokens of prompts.
    pub(super) prefill: usize,
    /// Tokens of decode rows.
    pub(super) decode: usize,
    /// Positions whose keys and values decode rows read, counted once a row.
    pub(super) context: usize,
    /// Positions that tokens of prompts attend to, of all tokens together.
    pub(super) attended: usize,
}

impl Work {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            prefill: self.prefill + other.prefill,
            decode: self.decode + other.decode,
            context: self.context + other.context,
            attended: self.attended + other.attended,
        }
    }

    /// A constant, for what every step takes, and the parts in units of which a
    /// step has about one, so that no part outweighs the others in the arithmetic.
    fn features(self) -> [f64; PARTS] {
        let Self { prefill, decode, context, attended } = self;
        let attended = attended as f64 / (128.0 * 1024.0);
        [1.0, prefill as f64 / 128.0, decode as f64, context as f64 / 1024.0, attended]
    }
}

const PARTS: usize = 5;

/// How much of what was learned counts after another step: a device that is shared
/// with others changes its speed, and after some hundred steps the old one is
/// forgotten.
const KEPT: f64 = 0.99;

/// What is not known at first may be this far from zero, in milliseconds a unit,
/// squared. Large: the first steps decide.
const UNKNOWN: f64 = 1e6;

/// A step counts for at most so many times what was expected of it: a machine that
/// slept, or a page fault, is no property of the model.
const SURPRISE: f64 = 4.0;

/// Predicts the milliseconds of a step: `a + b·prefill + c·decode + d·context + e·attended`, by
/// recursive least squares with forgetting.
#[derive(Clone, Debug)]
pub(super) struct CostModel {
    weights: [f64; PARTS],
    /// The inverse of the correlation of what was seen.
    spread: [[f64; PARTS]; PARTS],
    seen: u32,
}

impl CostModel {
    pub(super) fn new() -> Self {
        let mut spread = [[0.0; PARTS]; PARTS];
        for (at, row) in spread.iter_mut().enumerate() {
            row[at] = UNKNOWN;
        }
        Self { weights: [0.0; PARTS], spread, seen: 0 }
    }

    /// Milliseconds that a step is expected to take; 0 before anything was seen.
    pub(super) fn predict(&self, work: Work) -> f64 {
        // More work never takes less time; the noise of a short history may say so.
        let parts = self.weights.iter().zip(work.features());
        parts.map(|(weight, feature)| weight.max(0.0) * feature).sum()
    }

    /// Learns from a step.
    pub(super) fn learn(&mut self, work: Work, took: Duration) {
        let features = work.features();
        let mut took = took.as_secs_f64() * 1e3;
        let expected: f64 = self.weights.iter().zip(features).map(|(weight, feature)| weight * feature).sum();
        if self.seen >= 2 * PARTS as u32 && expected > 0.0 {
            took = took.min(SURPRISE * expected);
        }
        self.seen = self.seen.saturating_add(1);

        let spread = self.spread;
        let turned = spread.map(|row| row.iter().zip(features).map(|(a, b)| a * b).sum::<f64>());
        // What does not vary is not forgotten for ever: nothing would take its place.
        let known = spread.iter().enumerate().all(|(at, row)| row[at] < UNKNOWN);
        let kept = if known { KEPT } else { 1.0 };
        let weight = kept + turned.iter().zip(features).map(|(a, b)| a * b).sum::<f64>();
        let gain = turned.map(|part| part / weight);
        for (at, gain) in gain.iter().enumerate() {
            self.weights[at] += gain * (took - expected);
            for (column, turned) in turned.iter().enumerate() {
                self.spread[at][column] = (spread[at][column] - gain * turned) / kept;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{CostModel, Work};

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    fn work(prefill: usize, decode: usize, context: usize) -> Work {
        Work { prefill, decode, context, attended: prefill * context }
    }

    /// Steps as a batcher makes them.
    fn steps() -> impl Iterator<Item = Work> {
        (0..200usize).map(|nth| {
            let prefill = if nth % 3 == 0 { 128 } else { 0 };
            let decode = nth * 7 % 9;
            work(prefill, decode + usize::from(prefill + decode == 0), decode * (100 + nth) + prefill)
        })
    }

    proptest! {
        #[test]
        fn a_linear_device_is_learned(
            a in 0.0f64..20.0, b in 0.001f64..1.0, c in 0.01f64..20.0, d in 0.0f64..0.01,
        ) {
            let device = |w: Work| a + b * w.prefill as f64 + c * w.decode as f64 + d * w.context as f64;
            let mut model = CostModel::new();
            for work in steps() {
                model.learn(work, ms(device(work)));
            }
            for work in [work(0, 1, 300), work(0, 8, 2000), work(128, 0, 128), work(128, 8, 3000)] {
                let (predicted, real) = (model.predict(work), device(work));
                prop_assert!((predicted - real).abs() <= 0.05 * real + 0.05, "{predicted} for {real} of {work:?}");
            }
        }
    }

    #[test]
    fn a_device_that_slows_down_is_learned_anew() {
        let mut model = CostModel::new();
        for factor in [1.0, 5.0] {
            for _ in 0..4 {
                for work in steps() {
                    model.learn(work, ms(factor * (2.0 + work.prefill as f64 / 10.0 + work.decode as f64)));
                }
            }
            let (predicted, real) = (model.predict(work(128, 4, 800)), factor * 18.8);
            assert!((predicted - real).abs() < 0.1 * real, "{predicted} for {real}");
        }
    }

    #[test]
    fn one_long_pause_changes_little() {
        let mut model = CostModel::new();
        let device = |work: Work| 2.0 + work.prefill as f64 / 10.0 + work.decode as f64;
        for work in steps() {
            model.learn(work, ms(device(work)));
        }
        let before = model.predict(work(0, 4, 800));
        model.learn(work(0, 4, 800), Duration::from_secs(3600));
        let after = model.predict(work(0, 4, 800));
        assert!(after < 1.5 * before, "{before} before, {after} after");
    }

    #[test]
    fn the_same_step_over_and_over_stays_predictable() {
        let mut model = CostModel::new();
        for _ in 0..100_000 {
            model.learn(work(0, 1, 500), ms(3.0));
        }
        assert!((model.predict(work(0, 1, 500)) - 3.0).abs() < 0.1);
        assert!(model.predict(work(128, 1, 500)).is_finite());
        model.learn(work(128, 1, 500), ms(40.0));
        assert!(model.predict(work(0, 1, 500)) < 6.0);
    }
}
