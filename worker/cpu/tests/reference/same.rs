//! Near the reference, for every type of weights.

use hearth_cpu::KvStorage;
use hearth_model::DType;
use hearth_model::testing::TinyLlama;

use crate::files::{SIZES, decode, mixture, model, program, reference, tables, tokens};

/// The distance of two vectors over the length of the second.
fn apart(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let distance = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum::<f64>();
    (distance / b.iter().map(|b| square(f64::from(*b))).sum::<f64>()).sqrt()
}

#[test]
fn answers_are_near_the_references() {
    let prompt = tokens(1, 70);
    for dtype in DType::READABLE {
        let file = model(&SIZES, *dtype);
        let expected = decode(&mut reference(file.path()), &tables(0), 0, &prompt);
        let answers = decode(&mut program(file.path(), 2, None, KvStorage::Exact), &tables(0), 0, &prompt);
        let worst = answers.iter().zip(&expected).map(|(a, e)| apart(a, e)).fold(0.0, f64::max);
        // Plain weights differ by the order of sums; with quantized ones activations
        // are bytes, at each of 14 layers off by some thousandths.
        let allowed = if dtype.block_len() == 1 { 1e-4 } else { 4e-2 };
        println!("{dtype}: {worst:.2e}");
        assert!(worst < allowed, "{dtype}: {worst}");
        assert!(worst > 0.0, "{dtype}: the reference was compared with itself");
    }
}

/// Experts whose weights are plain, have a scale for 32 inputs and for 256, and routers
/// whose type is plain or not: those are not quantized, or a token would take other
/// experts.
#[test]
fn mixtures_are_near_the_references() {
    use DType::{BF16, F16, F32, Q4_0, Q4_K, Q6_K, Q8_0};
    let prompt = tokens(1, 70);
    for (dtype, router) in [(F32, F32), (F16, Q8_0), (Q4_0, F32), (Q8_0, F32), (Q4_K, BF16), (Q6_K, F16)] {
        let file = mixture(&SIZES, dtype, router);
        let expected = decode(&mut reference(file.path()), &tables(0), 0, &prompt);
        let answers = decode(&mut program(file.path(), 2, None, KvStorage::Exact), &tables(0), 0, &prompt);
        let worst = answers.iter().zip(&expected).map(|(a, e)| apart(a, e)).fold(0.0, f64::max);
        let allowed = if dtype.block_len() == 1 { 1e-4 } else { 4e-2 };
        println!("{dtype} by {router}: {worst:.2e}");
        assert!(worst < allowed, "{dtype} by {router}: {worst}");
        assert!(worst > 0.0, "{dtype}: the reference was compared with itself");
    }
}

/// Sizes that fill neither vectors nor tiles, and a tied head.
#[test]
fn odd_sizes_are_computed() {
    let prompt = tokens(2, 45);
    for (heads, kv_heads, head_dim, ffn) in [(3, 1, 20, 68), (6, 6, 4, 33), (4, 2, 80, 96), (1, 1, 2, 1)] {
        let sizes = TinyLlama { heads, kv_heads, head_dim, ffn, tied: true, ..SIZES };
        let file = model(&sizes, DType::F32);
        let expected = decode(&mut reference(file.path()), &tables(0), 0, &prompt);
        let answers = decode(&mut program(file.path(), 3, None, KvStorage::Exact), &tables(0), 0, &prompt);
        for (answer, expected) in answers.iter().zip(&expected) {
            assert!(apart(answer, expected) < 1e-4, "{sizes:?}: {}", apart(answer, expected));
        }
    }
}
