//! Packed blocks to `f32`, one block at a time, as the formats define them.
//!
//! This is the definition that faster code is tested against: plain, safe,
//! in the order of operations that the formats' own reference uses, so that
//! results are equal to the bit.

mod codebook;
mod k;
mod simple;

use half::{bf16, f16};

use crate::DType;

/// Why bytes cannot be dequantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DequantError {
    /// There is no code for the type.
    #[error("tensors of type {0} cannot be dequantized")]
    Unsupported(DType),
    /// The input does not have the bytes that the output's elements take.
    #[error("{elements} elements of type {dtype} do not take {bytes} bytes")]
    Length {
        /// The type.
        dtype: DType,
        /// Bytes given.
        bytes: usize,
        /// Elements asked for.
        elements: usize,
    },
}

/// Turns one block into its elements; both slices have exactly the block's size.
type Block = fn(&[u8], &mut [f32]);

fn block_of(dtype: DType) -> Option<Block> {
    Some(match dtype {
        DType::F32 => |b, y| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        DType::F16 => |b, y| y[0] = half_at(b, 0),
        DType::BF16 => |b, y| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        DType::Q4_0 => simple::q4_0,
        DType::Q4_1 => simple::q4_1,
        DType::Q5_0 => simple::q5_0,
        DType::Q5_1 => simple::q5_1,
        DType::Q8_0 => simple::q8_0,
        DType::Q2_K => k::q2,
        DType::Q3_K => k::q3,
        DType::Q4_K => k::q4,
        DType::Q5_K => k::q5,
        DType::Q6_K => k::q6,
        DType::IQ4_NL => codebook::iq4_nl,
        DType::IQ4_XS => codebook::iq4_xs,
        DType::Q8_1
        | DType::Q8_K
        | DType::IQ2_XXS
        | DType::IQ2_XS
        | DType::IQ3_XXS
        | DType::IQ1_S
        | DType::IQ3_S
        | DType::IQ2_S
        | DType::IQ1_M
        | DType::TQ1_0
        | DType::TQ2_0
        | DType::MXFP4
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::F64 => return None,
    })
}

/// Fills `out` with the elements that `bytes` hold; for [`DType::READABLE`] types. Whole blocks only: to use
/// several threads, give each its own rows.
///
/// # Errors
/// The type is not supported, or the lengths do not match.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<(), DequantError> {
    let block = block_of(dtype).ok_or(DequantError::Unsupported(dtype))?;
    if dtype.bytes_for(out.len() as u64) != Some(bytes.len() as u64) {
        return Err(DequantError::Length { dtype, bytes: bytes.len(), elements: out.len() });
    }
    // At most a few hundred.
    let (block_bytes, block_len) = (dtype.block_bytes() as usize, dtype.block_len() as usize);
    for (b, y) in bytes.chunks_exact(block_bytes).zip(out.chunks_exact_mut(block_len)) {
        block(b, y);
    }
    Ok(())
}

/// The half-precision number at byte `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A byte as the signed number that it holds.
fn signed(byte: u8) -> f32 {
    f32::from(byte as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readable_types_are_those_with_code() {
        for dtype in DType::ALL {
            assert_eq!(dtype.is_readable(), block_of(*dtype).is_some(), "{dtype}");
        }
    }

    #[test]
    fn lengths_must_match() {
        let mut out = [0.0; 32];
        assert!(dequantize(DType::Q8_0, &[0; 34], &mut out).is_ok());
        assert!(dequantize(DType::Q8_0, &[0; 33], &mut out).is_err());
        assert!(dequantize(DType::Q8_0, &[0; 34], &mut out[..31]).is_err());
        assert_eq!(dequantize(DType::I8, &[0; 32], &mut out), Err(DequantError::Unsupported(DType::I8)));
    }

    #[test]
    fn plain_types() {
        let mut out = [0.0; 2];
        dequantize(DType::F16, &[0x00, 0x3c, 0x00, 0xc0], &mut out).unwrap();
        assert_eq!(out, [1.0, -2.0]);
        dequantize(DType::BF16, &[0x80, 0x3f, 0x00, 0xc0], &mut out).unwrap();
        assert_eq!(out, [1.0, -2.0]);
    }

    /// Computed by hand: scale 0.5, minimum -1, nibbles 0 and 15 in each byte.
    #[test]
    fn a_block_of_q4_1_by_hand() {
        let mut block = vec![0x00, 0x38, 0x00, 0xbc];
        block.extend([0xf0; 16]);
        let mut out = [0.0; 32];
        dequantize(DType::Q4_1, &block, &mut out).unwrap();
        assert!(out[..16].iter().all(|x| *x == -1.0));
        assert!(out[16..].iter().all(|x| *x == 0.5 * 15.0 - 1.0));
    }
}
