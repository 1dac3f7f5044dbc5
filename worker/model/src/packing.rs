//! The size of weights in the form in which a CPU computes with them.
//!
//! A linear layer's weights are stored as tiles of [`TILE_OUTPUTS`] outputs, each
//! with all its inputs. Inside a tile, inputs lie in groups of up to
//! [`GROUP_INPUTS`], a group in blocks of [`BLOCK_INPUTS`]: first the group's scales,
//! rounded up to a cache line, then the codes of its blocks. Plain types have no
//! groups: they lie input by input.
//!
//! Only sizes are here, so that a planner can know them without the kernels.

use crate::DType;

/// Outputs of a tile; the last one is padded.
pub const TILE_OUTPUTS: u64 = 16;
/// The most inputs whose scales lie together.
pub const GROUP_INPUTS: u64 = 256;
/// Inputs of a block.
pub const BLOCK_INPUTS: u64 = 32;
/// What the starts of a tile, of a group's scales and of its codes are multiples of.
pub const ALIGNMENT: u64 = 64;

/// Bytes of one tile with `inputs` inputs; `None` where the type has no packed
/// form, rows of that length are not whole blocks of it, or the number does not fit.
#[must_use]
pub fn tile_bytes(dtype: DType, inputs: u64) -> Option<u64> {
    if inputs == 0 || !inputs.is_multiple_of(dtype.block_len()) {
        return None;
    }
    let Some(form) = Form::of(dtype) else {
        let plain = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
        let bytes = inputs.checked_mul(TILE_OUTPUTS * dtype.block_bytes()).filter(|_| plain)?;
        return bytes.checked_next_multiple_of(ALIGNMENT);
    };
    // Shorter groups than these fill whole lines too: the sum is the same.
    let blocks = inputs / BLOCK_INPUTS;
    let group = GROUP_INPUTS / BLOCK_INPUTS;
    let full = (blocks / group).checked_mul(form.group_bytes(group))?;
    full.checked_add(form.group_bytes(blocks % group))
}

/// Bytes of a packed matrix of `outputs` rows of `inputs` elements; `None` as for
/// [`tile_bytes`].
///
/// ```
/// use hearth_model::{DType, packing::packed_bytes};
/// // Q4_1 takes in memory what it takes in the file.
/// assert_eq!(packed_bytes(DType::Q4_1, 1536, 576), Some(1536 * 576 / 32 * 20));
/// ```
#[must_use]
pub fn packed_bytes(dtype: DType, outputs: u64, inputs: u64) -> Option<u64> {
    tile_bytes(dtype, inputs)?.checked_mul(outputs.div_ceil(TILE_OUTPUTS))
}

/// Bytes of the parts of a group.
struct Form {
    /// Codes of a block of a tile.
    codes: u64,
    /// Scales (and minima) of a block of a tile.
    scales: u64,
    /// What a group has beside: factors that its scales share.
    shared: u64,
}

impl Form {
    const fn of(dtype: DType) -> Option<Self> {
        // Bits a code × 32 inputs × 16 outputs / 8, and a line of 16 values of 1 or
        // 2 bytes for each scale.
        let (bits, scales, shared) = match dtype {
            DType::Q4_0 | DType::IQ4_NL => (4, 32, 0),
            DType::Q4_1 => (4, 64, 0),
            DType::Q5_0 => (5, 32, 0),
            DType::Q5_1 => (5, 64, 0),
            DType::Q8_0 => (8, 32, 0),
            DType::Q2_K => (2, 32, 64),
            DType::Q3_K => (3, 32, 32),
            DType::Q4_K => (4, 32, 64),
            DType::Q5_K => (5, 32, 64),
            DType::Q6_K => (6, 32, 32),
            DType::IQ4_XS => (4, 16, 32),
            _ => return None,
        };
        Some(Self { codes: bits * 64, scales, shared })
    }

    /// At most 8 blocks: no overflow.
    fn group_bytes(&self, blocks: u64) -> u64 {
        if blocks == 0 {
            return 0;
        }
        (self.shared + blocks * self.scales).next_multiple_of(ALIGNMENT) + blocks * self.codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readable_types_are_those_with_a_packed_form() {
        for dtype in DType::ALL {
            assert_eq!(tile_bytes(*dtype, 256).is_some(), dtype.is_readable(), "{dtype}");
        }
    }

    /// No form takes more than a thirtieth above its file's size, where a file's
    /// own six-bit scales take three quarters of a byte and ours take one.
    #[test]
    fn memory_stays_near_the_files_size() {
        for dtype in DType::READABLE {
            let file = dtype.bytes_for(4096 * 4096).unwrap() as f64;
            let packed = packed_bytes(*dtype, 4096, 4096).unwrap() as f64;
            let ratio = packed / file;
            let most = if *dtype == DType::Q3_K { 1.06 } else { 1.034 };
            assert!((1.0..=most).contains(&ratio), "{dtype}: {ratio}");
        }
    }

    #[test]
    fn short_groups_and_outputs_are_padded() {
        // 18 blocks: two groups of eight, one of two.
        assert_eq!(tile_bytes(DType::Q4_0, 576), Some(18 * (256 + 32)));
        // One block: half a cache line of scales is empty.
        assert_eq!(tile_bytes(DType::Q4_0, 32), Some(64 + 256));
        assert_eq!(packed_bytes(DType::F16, 17, 3), Some(2 * 128));
        assert_eq!(packed_bytes(DType::Q8_0, 1, 64), packed_bytes(DType::Q8_0, 16, 64));
    }

    #[test]
    fn what_has_no_form_has_no_size() {
        assert_eq!(tile_bytes(DType::Q4_0, 48), None);
        assert_eq!(tile_bytes(DType::Q4_K, 576), None);
        assert_eq!(tile_bytes(DType::F32, 0), None);
        assert_eq!(tile_bytes(DType::I8, 32), None);
        assert_eq!(tile_bytes(DType::F32, u64::MAX / 2), None);
        assert_eq!(packed_bytes(DType::Q8_0, u64::MAX, 1 << 20), None);
    }
}
