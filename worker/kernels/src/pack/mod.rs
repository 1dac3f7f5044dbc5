//! The form in which weights lie in memory.
//!
//! A file stores a matrix row by row, each row in blocks of one output. A kernel
//! wants many outputs at once: the same four inputs of 16 outputs are one operand of
//! an instruction that multiplies bytes and adds up fours, all 16 sums come out in
//! one register, and nothing has to be added across lanes. So a matrix is packed
//! once, while it is read, into tiles of 16 outputs (`hearth_model::packing` has the
//! outline and the sizes):
//!
//! - quantized types: groups of one, two or eight blocks of 32 inputs: the group's
//!   scales, then its blocks, each eight quads of `[16 outputs][4 inputs]` codes. Codes
//!   are unsigned and as wide as in the file (several quads share bytes); 8-bit ones
//!   are stored plus 128.
//! - plain types: `[inputs][16 outputs]`.
//!
//! A group is as short as whole cache lines of scales allow. Memory must be read in
//! the order of its addresses, or the processor does not fetch ahead of its reads:
//! with the scales of eight blocks of Q4_1 (eight lines) before their codes, so that
//! reads went to and fro, a thread got 12 GB/s of the 29 that it gets now; asking for
//! lines ahead by instructions did not help (12 to 25 GB/s, over all types).
//!
//! Nothing is rounded: every weight can be read back as the file defines it, to the
//! bit. Six-bit scales take a byte, which costs Q4_K 0.125 bits a weight; a byte is
//! one instruction to unpack and the file's form is a dozen.

mod file;
pub(crate) mod form;
mod tile;

use hearth_model::{DType, packing};

pub use tile::pack_rows;

/// Outputs of a tile.
pub const TILE: usize = packing::TILE_OUTPUTS as usize;

/// What is wrong with a request to pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// There is no packed form of the type.
    #[error("tensors of type {0} have no packed form")]
    Unsupported(DType),
    /// Rows are not whole blocks, or there are none.
    #[error("{outputs} rows of {inputs} elements cannot be packed as {dtype}")]
    Shape {
        /// The type.
        dtype: DType,
        /// Rows.
        outputs: u64,
        /// Elements of a row.
        inputs: u64,
    },
    /// The packed bytes are more than a memory can have.
    #[error("{outputs} rows of {inputs} elements of type {dtype} are too large")]
    TooLarge {
        /// The type.
        dtype: DType,
        /// Rows.
        outputs: u64,
        /// Elements of a row.
        inputs: u64,
    },
    /// The rows given do not start at a tile, end inside one, or are not whole.
    #[error("rows from {first} in {bytes} bytes are not whole tiles of the matrix")]
    Rows {
        /// The first row.
        first: usize,
        /// Bytes given.
        bytes: usize,
    },
    /// The output does not have the size of the tiles.
    #[error("the tiles take {wanted} bytes, not {bytes}")]
    Output {
        /// Bytes given.
        bytes: usize,
        /// Bytes that the tiles take.
        wanted: usize,
    },
}

/// The outline of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    dtype: DType,
    outputs: usize,
    inputs: usize,
    /// Bytes of a row in the file.
    row_bytes: usize,
    tile_bytes: usize,
}

impl Layout {
    /// The outline of `outputs` rows of `inputs` elements.
    ///
    /// # Errors
    /// The type has no packed form, the rows are not whole blocks of it, or the
    /// matrix is empty or too large.
    pub fn of(dtype: DType, outputs: u64, inputs: u64) -> Result<Self, PackError> {
        if !dtype.is_readable() {
            return Err(PackError::Unsupported(dtype));
        }
        if outputs == 0 || inputs == 0 || !inputs.is_multiple_of(dtype.block_len()) {
            return Err(PackError::Shape { dtype, outputs, inputs });
        }
        let too_large = PackError::TooLarge { dtype, outputs, inputs };
        // What fits in a slice; so do then all sizes of parts.
        let fits = |n: Option<u64>| {
            n.and_then(|n| usize::try_from(n).ok()).filter(|n| isize::try_from(*n).is_ok()).ok_or(too_large)
        };
        fits(packing::packed_bytes(dtype, outputs, inputs))?;
        Ok(Self {
            dtype,
            outputs: fits(Some(outputs))?,
            inputs: fits(Some(inputs))?,
            row_bytes: fits(dtype.bytes_for(inputs))?,
            tile_bytes: fits(packing::tile_bytes(dtype, inputs))?,
        })
    }

    /// The type of the weights.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Rows of the matrix.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Elements of a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes of the packed matrix.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tiles() * self.tile_bytes
    }

    /// Tiles of [`TILE`] outputs; the last one may be padded.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.outputs.div_ceil(TILE)
    }

    /// Bytes of a tile.
    #[must_use]
    pub fn tile_bytes(&self) -> usize {
        self.tile_bytes
    }

    /// Bytes of a row in the file.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    /// Whether activations are quantized before they are multiplied.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        self.dtype.block_len() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_of_good_shapes() {
        let layout = Layout::of(DType::Q4_1, 17, 576).unwrap();
        assert_eq!((layout.tiles(), layout.tile_bytes()), (2, 18 * 320));
        assert_eq!((layout.bytes(), layout.row_bytes()), (2 * 18 * 320, 18 * 20));
    }

    #[test]
    fn bad_shapes_are_refused() {
        let of = |dtype, outputs, inputs| Layout::of(dtype, outputs, inputs).unwrap_err();
        assert_eq!(of(DType::I8, 1, 32), PackError::Unsupported(DType::I8));
        assert!(matches!(of(DType::Q4_1, 1, 33), PackError::Shape { .. }));
        assert!(matches!(of(DType::F32, 0, 33), PackError::Shape { .. }));
        assert!(matches!(of(DType::F32, 1, 0), PackError::Shape { .. }));
        assert!(matches!(of(DType::F32, u64::MAX / 4, 1 << 20), PackError::TooLarge { .. }));
        assert!(matches!(of(DType::F16, 1 << 40, 1 << 24), PackError::TooLarge { .. }));
    }
}
