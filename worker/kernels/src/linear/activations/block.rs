//! 32 activations.

use crate::pack::form::BLOCK;

/// 32 activations of a row; one cache line.
///
/// With `s` = [`Block::scale`], activation `i` is `s * codes[i]`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Block {
    /// Between -127 and 127.
    pub(crate) codes: [[i8; 4]; 8],
    /// A 127th of the largest magnitude; NaN if one of the activations is not finite.
    pub(crate) scale: f32,
    /// `scale` times the sum of the codes.
    pub(crate) sum: f32,
    /// As `sum`, for the first and the last 16.
    pub(crate) half_sums: [f32; 2],
    /// Minus the sum of the codes: what corrects unsigned weights.
    pub(crate) less: i32,
    /// As `less`, for the first and the last 16.
    pub(crate) half_less: [i32; 2],
}

impl Block {
    pub(super) const ZERO: Self =
        Self { codes: [[0; 4]; 8], scale: 0.0, sum: 0.0, half_sums: [0.0; 2], less: 0, half_less: [0; 2] };

    /// What numbers are multiplied with to become codes, and the scale, given the bits
    /// of the largest magnitude.
    #[inline(always)]
    pub(super) fn factors(most: u32) -> (f32, f32) {
        let most = f32::from_bits(most);
        if !most.is_finite() {
            (0.0, f32::NAN)
        } else if most < 1e-30 {
            // 127 over it would not be finite.
            (0.0, 0.0)
        } else {
            (127.0 / most, most / 127.0)
        }
    }

    /// A block with its halves' sums of codes.
    #[inline(always)]
    pub(super) fn with_sums(codes: [[i8; 4]; 8], scale: f32, sums: [i32; 2]) -> Self {
        let sum = sums[0] + sums[1];
        Self {
            codes,
            scale,
            sum: scale * sum as f32,
            half_sums: [scale * sums[0] as f32, scale * sums[1] as f32],
            less: -sum,
            half_less: [-sums[0], -sums[1]],
        }
    }

    /// Codes for 32 numbers: the definition.
    pub(super) fn of(x: &[f32; BLOCK]) -> Self {
        // The bits of magnitudes order as the magnitudes do, and NaN comes last.
        let most = x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0);
        let (inverse, scale) = Self::factors(most);
        // NaN (infinity times zero) becomes 0.
        let codes = x.map(|x| (x * inverse).round_ties_even() as i8);
        let sum = |codes: &[i8]| codes.iter().map(|code| i32::from(*code)).sum();
        let sums = [sum(&codes[..16]), sum(&codes[16..])];
        let mut quads = [[0; 4]; 8];
        quads.as_flattened_mut().copy_from_slice(&codes);
        Self::with_sums(quads, scale, sums)
    }
}

/// A way to make blocks.
pub(super) trait Make {
    /// As [`Block::of`].
    ///
    /// # Safety
    /// The CPU has the instructions that the implementation names.
    unsafe fn block(x: &[f32; BLOCK]) -> Block;
}

/// In plain Rust.
pub(super) enum Portable {}

impl Make for Portable {
    unsafe fn block(x: &[f32; BLOCK]) -> Block {
        Block::of(x)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_by_hand() {
        let mut x = [0.0; 32];
        (x[0], x[1], x[16], x[31]) = (-12.7, 0.25, 0.35, 12.7);
        let block = Block::of(&x);
        assert_eq!(block.scale, 12.7 / 127.0);
        let codes = block.codes.as_flattened();
        // 2.5 rounds to the even 2, up to the rounding of 127 / 12.7.
        assert_eq!((codes[0], codes[1], codes[31]), (-127, 2, 127));
        assert!((3..=4).contains(&codes[16]));
        assert_eq!(block.half_less, [125, -127 - i32::from(codes[16])]);
        assert_eq!(block.less, block.half_less[0] + block.half_less[1]);
        assert_eq!(block.half_sums[0], block.scale * -125.0);
    }

    #[test]
    fn zeros_and_numbers_near_zero_are_zero() {
        assert_eq!(Block::of(&[0.0; 32]), Block::ZERO);
        assert_eq!(Block::of(&[-0.0; 32]), Block::ZERO);
        assert_eq!(Block::of(&[1e-40; 32]), Block::ZERO);
    }

    #[test]
    fn what_is_not_finite_shows() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = [1.0; 32];
            x[7] = bad;
            let block = Block::of(&x);
            assert!(block.scale.is_nan() && block.sum.is_nan() && block.half_sums[1].is_nan());
        }
    }
}
