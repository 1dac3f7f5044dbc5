//! Which rows take which experts.

use hearth_kernels::linear::Groups;
use hearth_kernels::pool::{Both, Chunks, Pool};
use hearth_program::arch::Experts;

use super::ROWS_AT_ONCE;

/// The choices of a slice's rows. Its lists keep their memory.
#[derive(Debug)]
pub(crate) struct Routes {
    /// `[rows][used]`, those of a row by rising expert.
    choices: Vec<Choice>,
    used: usize,
    /// The places of rows that take the same expert, by rising expert.
    pub(crate) groups: Groups,
    /// The row of each place; none between groups.
    pub(crate) rows: Vec<Option<usize>>,
    /// How many rows take each expert, then the place of its next.
    next: Vec<usize>,
}

/// An expert that a row takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Choice {
    expert: usize,
    /// What its output counts.
    pub(crate) share: f32,
    /// Where the row is computed with it.
    pub(crate) place: usize,
}

impl Routes {
    /// For up to `rows` rows that take `used` of `experts` experts.
    pub(crate) fn with_capacity(rows: usize, experts: usize, used: usize) -> Self {
        let chosen = rows * used;
        Self {
            choices: Vec::with_capacity(chosen),
            used,
            groups: Groups::with_capacity(experts.min(chosen)),
            rows: Vec::with_capacity(Groups::most_rows(chosen, experts)),
            next: Vec::with_capacity(experts),
        }
    }

    /// Chooses by `[rows][experts]` scores before their softmax, and spoils them.
    pub(crate) fn choose(&mut self, pool: &Pool, experts: &Experts, scores: &mut [f32]) {
        let Experts { experts: count, used, normalised, .. } = *experts;
        let Self { choices, used: own, groups, rows, next } = self;
        *own = used;
        choices.clear();
        choices.resize(scores.len() / count * used, Choice::default());
        let parts = Both::new(
            Chunks::new(scores, ROWS_AT_ONCE * count),
            Chunks::new(&mut *choices, ROWS_AT_ONCE * used),
        );
        pool.over(parts, |_, (scores, choices), _| {
            for (scores, choices) in scores.chunks_exact_mut(count).zip(choices.chunks_exact_mut(used)) {
                choose(scores, normalised, choices);
            }
        });

        next.clear();
        next.resize(count, 0);
        choices.iter().for_each(|choice| next[choice.expert] += 1);
        groups.clear();
        for (expert, next) in next.iter_mut().enumerate().filter(|(_, rows)| **rows > 0) {
            *next = groups.push(expert, *next);
        }
        rows.clear();
        rows.resize(groups.rows(), None);
        for (row, choices) in choices.chunks_exact_mut(used).enumerate() {
            for choice in choices {
                choice.place = next[choice.expert];
                next[choice.expert] += 1;
                rows[choice.place] = Some(row);
            }
        }
    }

    /// The choices of a row, by rising expert.
    pub(crate) fn of(&self, row: usize) -> &[Choice] {
        &self.choices[row * self.used..][..self.used]
    }
}

/// Chooses the experts with the highest scores, of equal ones the first.
fn choose(scores: &mut [f32], normalised: bool, choices: &mut [Choice]) {
    /// Less than any number, and than what an operation gives that is none.
    const TAKEN: f32 = f32::from_bits(u32::MAX);
    let most = scores.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    scores.iter_mut().for_each(|score| *score = (*score - most).exp());
    let all = scores.iter().sum::<f32>();
    scores.iter_mut().for_each(|score| *score /= all);
    for choice in &mut *choices {
        let mut best = 0;
        for (expert, score) in scores.iter().enumerate() {
            if score.total_cmp(&scores[best]).is_gt() {
                best = expert;
            }
        }
        *choice = Choice { expert: best, share: std::mem::replace(&mut scores[best], TAKEN), place: 0 };
    }
    if normalised {
        let sum = choices.iter().map(|choice| choice.share).sum::<f32>();
        choices.iter_mut().for_each(|choice| choice.share /= sum);
    }
    choices.sort_unstable_by_key(|choice| choice.expert);
}

#[cfg(test)]
mod tests {
    use hearth_kernels::pool::Pool;
    use hearth_program::arch::{Activation, WeightId};
    use proptest::prelude::*;

    use super::*;

    fn experts(experts: usize, used: usize, normalised: bool) -> Experts {
        let [router, gate, up, down] = [WeightId(0); 4];
        Experts { router, gate, up, down, experts, used, normalised, activation: Activation::Silu }
    }

    fn chosen(scores: &[f32], used: usize, normalised: bool) -> Vec<(usize, f32)> {
        let mut choices = vec![Choice::default(); used];
        choose(&mut scores.to_vec(), normalised, &mut choices);
        choices.iter().map(|choice| (choice.expert, choice.share)).collect()
    }

    #[test]
    fn the_largest_are_chosen_and_of_equal_ones_the_first() {
        let scores = [0.2f32, 0.3, 0.2, 0.3].map(f32::ln);
        let found = chosen(&scores, 3, false);
        assert_eq!(found.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [0, 1, 3]);
        let sum = found.iter().map(|(_, share)| share).sum::<f32>();
        assert!((sum - 0.8).abs() < 1e-6);
        let normalised = chosen(&scores, 3, true);
        assert!((normalised.iter().map(|(_, share)| share).sum::<f32>() - 1.0).abs() < 1e-6);
    }

    /// What is no number chooses somebody, and shows in the result.
    #[test]
    fn scores_that_are_no_numbers_choose_different_experts() {
        let found = chosen(&[f32::NAN, 1.0, -f32::NAN], 3, true);
        assert_eq!(found.iter().map(|(expert, _)| *expert).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(found.iter().any(|(_, share)| share.is_nan()));
    }

    proptest! {
        #[test]
        fn every_choice_has_a_place_in_its_experts_group(
            rows in 1usize..70, count in 1usize..9, used in 1usize..9, seed in 0u32..1000,
        ) {
            let used = used.min(count);
            let number = |i: usize| ((i as u32 ^ seed).wrapping_mul(2_654_435_761) >> 20) as f32 / 1e3;
            let mut scores = (0..rows * count).map(number).collect::<Vec<_>>();
            let mut routes = Routes::with_capacity(rows, count, used);
            let capacity = routes.rows.capacity();
            routes.choose(&Pool::new(2).unwrap(), &experts(count, used, true), &mut scores);
            prop_assert_eq!(routes.rows.capacity(), capacity);
            let mut taken = vec![0; routes.groups.rows()];
            for row in 0..rows {
                prop_assert!(routes.of(row).is_sorted_by(|a, b| a.expert < b.expert));
                for choice in routes.of(row) {
                    prop_assert_eq!(routes.rows[choice.place], Some(row));
                    taken[choice.place] += 1;
                    let of_expert = |group: hearth_kernels::linear::Group| group.matrix == choice.expert
                        && (group.first..group.first + group.rows).contains(&choice.place);
                    prop_assert_eq!(routes.groups.iter().filter(|group| of_expert(*group)).count(), 1);
                }
            }
            for (taken, row) in taken.iter().zip(&routes.rows) {
                prop_assert_eq!(*taken, usize::from(row.is_some()));
            }
        }
    }
}
