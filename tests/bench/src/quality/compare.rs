//! Two distributions over the same vocabulary, from logits.

use serde::Serialize;

/// Kullback-Leibler divergence of `got` from `wanted`, in nats: how much longer the
/// oracle's tokens get when they are coded by the other's probabilities. Both are
/// logits of the same length.
fn divergence(wanted: &[f32], got: &[f32]) -> f64 {
    let (wanted_sum, got_sum) = (log_sum(wanted), log_sum(got));
    let terms = wanted.iter().zip(got).map(|(&w, &g)| {
        let (w, g) = (f64::from(w) - wanted_sum, f64::from(g) - got_sum);
        w.exp() * (w - g)
    });
    terms.sum()
}

/// The logarithm of the sum of exponentials, which turns logits into logarithms of
/// probabilities when it is taken off.
fn log_sum(logits: &[f32]) -> f64 {
    let most = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    most + logits.iter().map(|&x| (f64::from(x) - most).exp()).sum::<f64>().ln()
}

fn likeliest(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]).then(b.cmp(&a)))
}

/// A mean and its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Mean {
    pub(crate) mean: f64,
    pub(crate) error: f64,
}

impl Mean {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let count = values.clone().count().max(1) as f64;
        let mean = values.clone().sum::<f64>() / count;
        let variance = values.map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        Self { mean, error: (variance / count).sqrt() }
    }
}

/// One engine's answers so far.
#[derive(Debug, Default)]
pub(crate) struct Distances {
    divergences: Vec<f64>,
    agreed: usize,
}

/// What is said of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Distance {
    /// Positions compared.
    pub(crate) positions: usize,
    /// In nats.
    pub(crate) divergence: Mean,
    /// Which 99 of 100 positions do not exceed.
    pub(crate) divergence_p99: f64,
    /// Share of positions where both find the same token likeliest.
    pub(crate) agreement: f64,
}

impl Distances {
    /// Positions next to each other: `[positions, width]` each.
    pub(crate) fn add_all(&mut self, wanted: &[f32], got: &[f32], width: usize) {
        assert_eq!(wanted.len(), got.len(), "as many positions from both");
        for (wanted, got) in wanted.chunks_exact(width).zip(got.chunks_exact(width)) {
            self.divergences.push(divergence(wanted, got));
            self.agreed += usize::from(likeliest(wanted) == likeliest(got));
        }
    }

    /// How much farther than the other's these are, at the same positions: pairs say
    /// far more than two means, because what is hard to code is so for both.
    pub(crate) fn beyond(&self, other: &Self) -> Mean {
        assert_eq!(self.divergences.len(), other.divergences.len(), "as many positions from both");
        Mean::of(self.divergences.iter().zip(&other.divergences).map(|(a, b)| a - b))
    }

    pub(crate) fn sum_up(mut self) -> Distance {
        let all = &mut self.divergences;
        all.sort_by(f64::total_cmp);
        let count = all.len().max(1) as f64;
        Distance {
            positions: all.len(),
            divergence: Mean::of(all.iter().copied()),
            divergence_p99: all
                .get((all.len() * 99).div_ceil(100).saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN),
            agreement: self.agreed as f64 / count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_no_distance_from_itself_whatever_its_offset() {
        let logits = [1.0, -2.0, 3.5, 0.0];
        let shifted = logits.map(|x| x + 100.0);
        assert!(divergence(&logits, &shifted).abs() < 1e-9);
    }

    #[test]
    fn the_divergence_is_the_textbooks() {
        // 1/2, 1/2 against 3/4, 1/4.
        let got = divergence(&[0.0, 0.0], &[3.0f32.ln(), 0.0]);
        let want = 0.5 * (2.0f64 / 3.0).ln() + 0.5 * 2.0f64.ln();
        assert!((got - want).abs() < 1e-7, "{got} {want}");
    }

    #[test]
    fn agreement_and_the_hundredth_are_counted() {
        let mut distances = Distances::default();
        distances.add_all(&[1.0, 0.0, 0.0, 1.0], &[2.0, 0.0, 1.0, 0.0], 2);
        let Distance { positions, agreement, divergence, divergence_p99, .. } = distances.sum_up();
        assert_eq!((positions, agreement), (2, 0.5));
        assert!(divergence_p99 > divergence.mean);
    }

    #[test]
    fn a_mean_has_the_error_of_its_sample() {
        let Mean { mean, error } = Mean::of([1.0, 2.0, 3.0, 4.0].into_iter());
        assert_eq!(mean, 2.5);
        assert!((error - (5.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12, "{error}");
    }

    #[test]
    fn farther_is_positive() {
        let (mut near, mut far) = (Distances::default(), Distances::default());
        near.add_all(&[1.0, 0.0], &[1.1, 0.0], 2);
        far.add_all(&[1.0, 0.0], &[3.0, 0.0], 2);
        assert!(far.beyond(&near).mean > 0.0 && near.beyond(&far).mean < 0.0);
    }

    #[test]
    fn of_equals_the_first_is_likeliest() {
        assert_eq!(likeliest(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(likeliest(&[]), None);
    }
}
