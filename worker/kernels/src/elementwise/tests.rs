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

proptest! {
    #[test]
    fn norms_are_the_definition((width, x) in (1usize..70).prop_flat_map(|w| (Just(w), numbers(3 * w)))) {
        let weight = (0..width).map(|i| 0.5 + i as f32 * 0.01).collect::<Vec<_>>();
        let out = agreed(&x, |isa, out| rms_norm(isa, &weight, 1e-5, &x, out));
        let same = agreed(&x, |isa, out| rms_norm_in_place(isa, &weight, 1e-5, out));
        prop_assert_eq!(&out, &same);
        for (x, out) in x.chunks(width).zip(out.chunks(width)) {
            let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
            let root = (mean + 1e-5).sqrt();
            for ((x, out), w) in x.iter().zip(out).zip(&weight) {
                prop_assert!(close(*out, f64::from(*x) / root * f64::from(*w)));
            }
        }
    }

    #[test]
    fn zips_are_their_definitions((gate, x) in (0usize..50).prop_flat_map(|n| (numbers(n), numbers(n)))) {
        let tanh_gelu = |g: f64| g * (1.0 + (0.797_884_560_8 * (g + 0.044_715 * g.powi(3))).tanh()) / 2.0;
        let sum = agreed(&x, |isa, out| add(isa, &gate, out));
        let silu = agreed(&x, |isa, out| silu_gate(isa, &gate, out));
        let gelu = agreed(&x, |isa, out| gelu_gate(isa, &gate, out));
        let half = agreed(&x, |isa, out| scale(isa, 0.5, out));
        let capped = agreed(&x, |isa, out| soft_cap(isa, 5.0, out));
        for i in 0..x.len() {
            let (g, y) = (f64::from(gate[i]), f64::from(x[i]));
            prop_assert_eq!(sum[i], gate[i] + x[i]);
            prop_assert_eq!(half[i], x[i] / 2.0);
            prop_assert!(close(silu[i], g / (1.0 + (-g).exp()) * y));
            prop_assert!(close(gelu[i], tanh_gelu(g) * y));
            prop_assert!(close(capped[i], 5.0 * (y / 5.0).tanh()));
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
        silu_gate(isa, &[f32::NAN; 20], &mut out);
        assert!(out.iter().all(|x| x.is_nan()));
        let mut out = [1.0; 20];
        out[18] = f32::NAN;
        rms_norm_in_place(isa, &[1.0; 20], 1e-5, &mut out);
        assert!(out.iter().all(|x| x.is_nan()));
    }
}
