//! Instruction sets against the portable twin: equal bits.

use hearth_model::DType;
use proptest::prelude::*;

use super::made::{Fill, Made, Numbers, activations, same, whole};
use crate::isa::Isa;

fn check(dtype: DType, rows: usize, outputs: usize, inputs: usize, fill: Fill, seed: u64) {
    let made = Made::new(dtype, outputs, inputs, fill, seed);
    let x = activations(rows, inputs, &mut Numbers(seed ^ 1));
    let twin = made.times(Isa::Portable, &x);
    for isa in Isa::available() {
        let out = made.times(isa, &x);
        assert!(same(&out, &twin), "{isa:?} {dtype} {rows} × {inputs} × {outputs} {fill:?}");
    }
}

#[test]
fn all_numbers_of_rows() {
    for dtype in DType::READABLE {
        for rows in 1..=27 {
            check(*dtype, rows, 17, whole(*dtype, 64), Fill::Usual, rows as u64);
        }
    }
}

#[test]
fn common_shapes() {
    for dtype in DType::READABLE {
        for (outputs, inputs) in [(16, 32), (1, 96), (33, 576), (47, 640), (15, 2304)] {
            check(*dtype, 3, outputs, whole(*dtype, inputs), Fill::Usual, inputs as u64);
        }
    }
}

#[test]
fn extreme_weights() {
    for dtype in DType::READABLE {
        for fill in [Fill::Ones, Fill::Zeros, Fill::Extreme] {
            check(*dtype, 13, 18, whole(*dtype, 288), fill, 5);
        }
    }
}

#[test]
fn plain_rows_of_any_length() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for inputs in [1, 2, 3, 31, 33] {
            check(dtype, 9, 17, inputs, Fill::Usual, 7);
        }
    }
}

/// More rows than stay near at a time.
#[test]
fn many_rows() {
    check(DType::Q4_1, 150, 20, 4096, Fill::Usual, 11);
}

/// The kernels of AVX-VNNI, on machines that have its instruction in another encoding.
#[cfg(target_arch = "x86_64")]
#[test]
fn vnni_in_256_bits() {
    crate::linear::kernel::EVEX.set(true);
    for dtype in DType::READABLE {
        for fill in [Fill::Usual, Fill::Ones, Fill::Extreme] {
            check(*dtype, 11, 20, whole(*dtype, 96), fill, 9);
        }
    }
    crate::linear::kernel::EVEX.set(false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_shape(
        dtype in proptest::sample::select(DType::READABLE),
        rows in 1usize..30,
        outputs in 1usize..70,
        inputs in 1usize..700,
        fill in proptest::sample::select(&[Fill::Usual, Fill::Extreme][..]),
        seed: u64,
    ) {
        check(dtype, rows, outputs, whole(dtype, inputs), fill, seed);
    }
}
