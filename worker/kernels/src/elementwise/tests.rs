use hearth_model::arch::Activation;
use proptest::prelude::*;

use super::*;
use crate::isa::Isa;

fn numbers(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<f32>> {
    proptest::collection::vec(-9.0f32..9.0, len)
}

/// Runs a kernel on all sets and says what the portable one gives.
fn agreed(x: &[f32], kernel: impl Fn(Isa, &mut [f32])) -> Vec<f32> {
    let run = |isa| {
        let mut out = x.to_vec();
        kernel(isa, &mut out);
        out
    };
    let definition = run(Isa::Portable);
    for isa in Isa::available() {
        let out = run(isa);
        assert!(out.iter().zip(&definition).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa:?}");
    }
    definition
}

fn close(is: f32, should: f64) -> bool {
    (f64::from(is) - should).abs() <= 3e-6 * (1.0 + should.abs())
}

fn definition(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => x * (1.0 + (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh()) / 2.0,
        Activation::Gelu => x * distribution(x),
    }
}

/// The normal distribution: of small numbers by its series, of others by its continued
/// fraction.
fn distribution(x: f64) -> f64 {
    let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
    if x.abs() < 3.0 {
        let (mut sum, mut term) = (x, x);
        for odd in (3..200).step_by(2) {
            term *= x * x / f64::from(odd);
            sum += term;
        }
        return 0.5 + density * sum;
    }
    let tail = density / (1..200).rev().fold(x.abs(), |below, n| x.abs() + f64::from(n) / below);
    if x < 0.0 { tail } else { 1.0 - tail }
}

proptest! {
    #[test]
    fn norms_are_the_definition((width, x) in (1usize..70).prop_flat_map(|w| (Just(w), numbers(3 * w)))) {
        let weight = (0..width).map(|i| 0.5 + i as f32 * 0.01).collect::<Vec<_>>();
        let bias = (0..width).map(|i| i as f32 * 0.02 - 0.3).collect::<Vec<_>>();
        for (centred, bias) in [(false, None), (true, None), (true, Some(&bias[..]))] {
            let norm = Norm { centred, weight: &weight, bias, epsilon: 1e-2 };
            let out = agreed(&x, |isa, out| normalize(isa, &norm, &x, out));
            let same = agreed(&x, |isa, out| normalize_in_place(isa, &norm, out));
            prop_assert_eq!(&out, &same);
            for (x, out) in x.chunks(width).zip(out.chunks(width)) {
                let wide = x.iter().copied().map(f64::from);
                let mean = if centred { wide.clone().sum::<f64>() / width as f64 } else { 0.0 };
                let square = wide.clone().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                let root = (square + 1e-2).sqrt();
                for (i, (x, out)) in wide.zip(out).enumerate() {
                    let bias = bias.map_or(0.0, |bias| f64::from(bias[i]));
                    let should = (x - mean) / root * f64::from(weight[i]) + bias;
                    // Where a mean is taken off, what it cancels counts.
                    prop_assert!((f64::from(*out) - should).abs() <= 3e-5 * (1.0 + should.abs()));
                }
            }
        }
    }

    #[test]
    fn lengths_become_one((width, x) in (1usize..70).prop_flat_map(|w| (Just(w), numbers(3 * w)))) {
        let out = agreed(&x, |isa, out| unit_length(isa, width, out));
        for (x, out) in x.chunks(width).zip(out.chunks(width)) {
            let length = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt().max(1e-20);
            prop_assert!(x.iter().zip(out).all(|(x, out)| close(*out, f64::from(*x) / length)));
        }
    }

    #[test]
    fn zips_are_their_definitions((other, x) in (0usize..50).prop_flat_map(|n| (numbers(n), numbers(n)))) {
        let sum = agreed(&x, |isa, out| add(isa, &other, out));
        let scaled = agreed(&x, |isa, out| add_scaled(isa, 0.3, &other, out));
        let half = agreed(&x, |isa, out| scale(isa, 0.5, out));
        let capped = agreed(&x, |isa, out| soft_cap(isa, 5.0, out));
        for i in 0..x.len() {
            prop_assert_eq!(sum[i], other[i] + x[i]);
            prop_assert_eq!(scaled[i], other[i].mul_add(0.3, x[i]));
            prop_assert_eq!(half[i], x[i] / 2.0);
            prop_assert!(close(capped[i], 5.0 * (f64::from(x[i]) / 5.0).tanh()));
        }
    }

    #[test]
    fn activations_are_their_definitions((g, x) in (0usize..50).prop_flat_map(|n| (numbers(n), numbers(n)))) {
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
            let gated = agreed(&x, |isa, out| gate(isa, activation, &g, out));
            let alone = agreed(&g, |isa, out| activate(isa, activation, out));
            for i in 0..x.len() {
                let should = definition(activation, f64::from(g[i]));
                prop_assert!(close(alone[i], should), "{:?} of {}: {}", activation, g[i], alone[i]);
                prop_assert!(close(gated[i], should * f64::from(x[i])));
            }
        }
    }

    #[test]
    fn heads_turn_and_the_rest_stays(
        (dim, dims, x) in (2usize..40).prop_flat_map(|d| (Just(d), 0..=d / 2, numbers(3 * d))),
        position in 0usize..100_000,
    ) {
        let frequencies = (0..dims).map(|i| 10_000f64.powf(-(i as f64) / 20.0)).collect::<Vec<_>>();
        let mut by = vec![0.0; 2 * dims];
        turns(&frequencies, position, &mut by);
        for pairs in [Pairs::Adjacent, Pairs::Halves] {
            let out = agreed(&x, |isa, out| rope(isa, pairs, &by, dim, out));
            for (x, out) in x.chunks(dim).zip(out.chunks(dim)) {
                prop_assert_eq!(&x[2 * dims..], &out[2 * dims..]);
                for (i, frequency) in frequencies.iter().enumerate() {
                    let (a, b) = match pairs {
                        Pairs::Adjacent => (2 * i, 2 * i + 1),
                        Pairs::Halves => (i, i + dims),
                    };
                    let (s, c) = (position as f64 * frequency).sin_cos();
                    let (u, v) = (f64::from(x[a]), f64::from(x[b]));
                    prop_assert!(close(out[a], u * c - v * s) && close(out[b], v * c + u * s));
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_shows() {
    for isa in Isa::available() {
        let mut out = [1.0; 20];
        for activation in [Activation::Silu, Activation::Gelu, Activation::GeluTanh] {
            out.fill(1.0);
            gate(isa, activation, &[f32::NAN; 20], &mut out);
            assert!(out.iter().all(|x| x.is_nan()));
        }
        let mut out = [1.0; 20];
        out[18] = f32::NAN;
        let norm = Norm { centred: false, weight: &[1.0; 20], bias: None, epsilon: 1e-5 };
        normalize_in_place(isa, &norm, &mut out);
        assert!(out.iter().all(|x| x.is_nan()));
    }
}
