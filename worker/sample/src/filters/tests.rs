use proptest::prelude::*;

use super::{Scratch, choose, filter};
use crate::likeliest::Maxima;
use crate::{Sampling, random};

/// The definitions, by sorting and in double precision: the ids that are kept,
/// in rising order, and their probabilities.
fn naive(sampling: &Sampling, logits: &[f32]) -> Vec<(u32, f64)> {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(f64::from(x)));
    let weigh = |x: f32| ((f64::from(x) - largest) / f64::from(sampling.temperature)).exp();
    let mut kept =
        (0u32..).zip(logits).map(|(id, &x)| (id, weigh(x))).filter(|(_, w)| *w > 0.0).collect::<Vec<_>>();
    let likelier = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    kept.sort_by(likelier);
    if sampling.top_k > 0 {
        kept.truncate(sampling.top_k as usize);
    }
    if sampling.typical_p < 1.0 {
        let total = kept.iter().map(|(_, w)| w).sum::<f64>();
        let entropy = kept.iter().map(|(_, w)| -(w / total) * (w / total).ln()).sum::<f64>();
        let distance = |w: f64| (-(w / total).ln() - entropy).abs();
        kept.sort_by(|a, b| distance(a.1).total_cmp(&distance(b.1)).then(a.0.cmp(&b.0)));
        shortest(&mut kept, f64::from(sampling.typical_p));
        kept.sort_by(likelier);
    }
    shortest(&mut kept, f64::from(sampling.top_p));
    let most = kept.first().map_or(0.0, |first| first.1);
    kept.retain(|(_, w)| *w >= f64::from(sampling.min_p) * most);
    kept.sort_by_key(|(id, _)| *id);
    let total = kept.iter().map(|(_, w)| w).sum::<f64>();
    kept.iter_mut().for_each(|(_, w)| *w /= total);
    kept
}

/// The shortest run from the front whose part of the whole is `share`.
fn shortest(kept: &mut Vec<(u32, f64)>, share: f64) {
    if share >= 1.0 {
        return;
    }
    let total = kept.iter().map(|(_, w)| w).sum::<f64>();
    let mut reached = 0.0;
    let enough = kept.iter().position(|(_, w)| {
        reached += w;
        reached >= share * total
    });
    kept.truncate(enough.map_or(kept.len(), |last| last + 1));
}

fn kept(sampling: &Sampling, logits: &[f32]) -> Vec<(u32, f64)> {
    let (mut maxima, mut scratch) = (Maxima::default(), Scratch::default());
    maxima.measure(logits);
    filter(sampling, logits, &mut maxima, &mut scratch);
    let total = super::mass(&scratch.candidates);
    let possible = scratch.candidates.iter().filter(|c| c.weight > 0.0);
    possible.map(|c| (c.id, f64::from(c.weight) / total)).collect()
}

fn ids(kept: &[(u32, f64)]) -> Vec<u32> {
    kept.iter().map(|(id, _)| *id).collect()
}

fn pick(sampling: &Sampling, logits: &[f32], unit: f64) -> Option<u32> {
    let mut maxima = Maxima::default();
    maxima.measure(logits);
    choose(sampling, logits, &mut maxima, &mut Scratch::default(), unit)
}

#[test]
fn greedy_takes_the_lowest_of_the_largest() {
    let greedy = |logits: &[f32]| pick(&Sampling::greedy(), logits, 0.5);
    assert_eq!(greedy(&[0.0, 3.0, f32::NAN, 3.0]), Some(1));
    assert_eq!(greedy(&[f32::NAN, f32::NEG_INFINITY]), None);
    assert_eq!(greedy(&[]), None);
}

#[test]
fn each_filter_keeps_what_it_says() {
    // Probabilities 0.5, 0.25, 0.15, 0.1; an entropy of 1.208, which the
    // information of the four misses by 0.515, 0.178, 0.689 and 1.095.
    let logits = [0.5f32.ln(), 0.25f32.ln(), 0.15f32.ln(), 0.1f32.ln()];
    let support = |edit: fn(&mut Sampling)| {
        let mut sampling = Sampling::default();
        edit(&mut sampling);
        ids(&kept(&sampling, &logits))
    };
    assert_eq!(support(|_| {}), [0, 1, 2, 3]);
    assert_eq!(support(|s| s.top_k = 2), [0, 1]);
    assert_eq!(support(|s| s.top_p = 0.7), [0, 1]);
    assert_eq!(support(|s| s.top_p = 0.76), [0, 1, 2]);
    assert_eq!(support(|s| s.min_p = 0.25), [0, 1, 2]);
    assert_eq!(support(|s| s.min_p = 1.0), [0]);
    assert_eq!(support(|s| s.typical_p = 0.2), [1]);
    assert_eq!(support(|s| s.typical_p = 0.7), [0, 1]);
    assert_eq!(support(|s| s.typical_p = 0.8), [0, 1, 2]);
    // top-p counts what top-k left: 0.5 of 0.75 reaches 0.6.
    assert_eq!(support(|s| (s.top_k, s.top_p) = (2, 0.6)), [0]);
    // min-p measures by the likeliest that typical-p left.
    assert_eq!(support(|s| (s.typical_p, s.min_p) = (0.2, 1.0)), [1]);
}

#[test]
fn infinite_logits_do_not_break_the_sum() {
    let all = Sampling::default();
    assert_eq!(pick(&all, &[1.0, f32::INFINITY, 2.0], 0.999), Some(1));
    assert_eq!(pick(&all, &[f32::INFINITY, 0.0, f32::NAN], 0.999), Some(0));
    assert_eq!(pick(&all, &[f32::NAN, f32::NEG_INFINITY, -1e30, f32::NAN], 0.999), Some(2));
    assert_eq!(pick(&Sampling { temperature: f32::MIN_POSITIVE, ..all }, &[1.0, 2.0], 0.999), Some(1));
}

/// How far counts are from what was expected, over what chance explains: a
/// chi-square statistic, put on the scale of a normal distribution after Wilson
/// and Hilferty.
fn surprise(counts: &[u32], expected: &[f64]) -> f64 {
    let freedom = (counts.len() - 1) as f64;
    let parts = counts.iter().zip(expected).map(|(&n, e)| (f64::from(n) - e).powi(2) / e);
    let spread = 2.0 / (9.0 * freedom);
    ((parts.sum::<f64>() / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

#[test]
fn draws_follow_the_probabilities() {
    const DRAWS: u32 = 40_000;
    let logits = (0..24).map(|n| ((n * 7) % 24) as f32 / 6.0).collect::<Vec<_>>();
    let cases = [
        Sampling::default(),
        Sampling { temperature: 0.7, ..Sampling::default() },
        Sampling { top_k: 9, temperature: 1.6, ..Sampling::default() },
        Sampling { top_p: 0.8, ..Sampling::default() },
        Sampling { typical_p: 0.8, min_p: 0.1, ..Sampling::default() },
    ];
    for sampling in cases {
        for seed in [0, 7, u64::MAX] {
            let expected = naive(&sampling, &logits);
            let mut counts = vec![0; expected.len()];
            for position in 0..u64::from(DRAWS) {
                let id = pick(&sampling, &logits, random::unit(seed, position)).unwrap();
                let place = expected.iter().position(|(kept, _)| *kept == id);
                counts[place.expect("a token that the filters keep")] += 1;
            }
            let expected = expected.iter().map(|(_, p)| p * f64::from(DRAWS)).collect::<Vec<_>>();
            // One run in 30,000 would be as far off by chance, and these are
            // always the same.
            assert!(surprise(&counts, &expected) < 4.0, "{sampling:?} {seed}: {counts:?} {expected:?}");
        }
    }
}

#[test]
fn the_test_of_draws_can_fail() {
    let expected = [10_000.0, 20_000.0, 10_000.0];
    assert!(surprise(&[10_050, 19_900, 10_050], &expected) < 4.0);
    assert!(surprise(&[10_400, 19_600, 10_000], &expected) > 4.0);
}

fn logits() -> impl Strategy<Value = Vec<f32>> {
    let even = prop::collection::vec(-8.0f32..8.0, 1..700);
    // Equal logits are where ends of selections are ambiguous.
    let stepped = prop::collection::vec((-6i8..6).prop_map(|n| f32::from(n) / 2.0), 1..700);
    prop_oneof![even, stepped]
}

proptest! {
    #[test]
    fn what_is_kept_is_what_the_definitions_keep(
        logits in logits(),
        // Nothing falls below the least weight that there is.
        temperature in 0.2f32..2.0,
        top_k in prop_oneof![Just(0u32), 1u32..700],
        top_p in prop_oneof![Just(1.0f32), 0.01f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0],
        typical_p in prop_oneof![2 => Just(1.0f32), 1 => 0.01f32..1.0],
    ) {
        let sampling = Sampling { temperature, top_k, top_p, min_p, typical_p, ..Sampling::default() };
        let ours = kept(&sampling, &logits);
        // Where a sum meets its target within rounding, either side is right.
        let nudged = [-1.0f32, 0.0, 1.0].into_iter().flat_map(|a| {
            let sampling = &sampling;
            [-1.0f32, 0.0, 1.0].map(move |b| {
                let nudge = |x: f32, by: f32| if x < 1.0 { x * (1.0 + by * 2e-6) } else { x };
                Sampling {
                    top_p: nudge(sampling.top_p, a),
                    typical_p: nudge(sampling.typical_p, a),
                    min_p: sampling.min_p * (1.0 + b * 2e-6),
                    ..sampling.clone()
                }
            })
        });
        let theirs = nudged.map(|sampling| naive(&sampling, &logits)).collect::<Vec<_>>();
        let same = theirs.iter().find(|theirs| ids(theirs) == ids(&ours));
        prop_assert!(same.is_some(), "{:?} is not {:?}", ids(&ours), ids(&theirs[4]));
        for ((id, ours), (_, theirs)) in ours.iter().zip(same.unwrap()) {
            prop_assert!((ours - theirs).abs() < 1e-5, "token {id}: {ours} for {theirs}");
        }
    }

    #[test]
    fn a_draw_hits_a_token_that_was_kept(logits in logits(), unit in 0.0f64..1.0, top_k in 0u32..20) {
        let sampling = Sampling { top_k, top_p: 0.9, ..Sampling::default() };
        let id = pick(&sampling, &logits, unit).unwrap();
        prop_assert!(ids(&kept(&sampling, &logits)).contains(&id));
    }
}
