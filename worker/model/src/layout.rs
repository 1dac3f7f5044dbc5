//! Where tensors lie in a file: sizes, ends, overlaps. The same for all formats.

use crate::header::excerpt;
use crate::{DType, Problem, Tensor};

/// Bytes that a file may have: offsets within one are signed 64-bit numbers. What
/// is told of a file's size may be more.
pub const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// Bytes of a tensor, or what is wrong with its shape.
pub(crate) fn bytes(dtype: DType, shape: &[u64]) -> Result<u64, &'static str> {
    if shape.contains(&0) {
        return Err("a dimension is 0");
    }
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(dtype.block_len()) {
        return Err("a row is not whole blocks of the tensor's type");
    }
    let elements = shape.iter().try_fold(1u64, |a, b| a.checked_mul(*b));
    elements
        .and_then(|n| dtype.bytes_for(n))
        .filter(|n| *n <= MAX_FILE_BYTES)
        .ok_or("its bytes do not fit 63 bits")
}

/// Makes offsets, so far relative to the data part, absolute, and returns where
/// the last tensor ends, if there is any.
///
/// # Errors
/// The index of the tensor that lies past the end or over another, and what is
/// wrong with it.
pub(crate) fn place(
    tensors: &mut [Tensor],
    data_offset: u64,
    file_bytes: Option<u64>,
) -> Result<Option<u64>, (usize, Problem)> {
    let file = file_bytes.unwrap_or(MAX_FILE_BYTES).min(MAX_FILE_BYTES);
    for (i, tensor) in tensors.iter_mut().enumerate() {
        let start = tensor.offset.checked_add(data_offset);
        let end = start.and_then(|start| start.checked_add(tensor.bytes));
        let (Some(start), Some(_)) = (start, end.filter(|end| *end <= file)) else {
            let end = end.unwrap_or(u64::MAX);
            return Err((i, Problem::PastEnd { name: excerpt(&tensor.name), end, file }));
        };
        tensor.offset = start;
    }

    // From here on no end is past the largest file's.
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_unstable_by_key(|i| tensors[*i].offset);
    for pair in order.windows(2) {
        let (first, second) = (&tensors[pair[0]], &tensors[pair[1]]);
        if first.offset + first.bytes > second.offset {
            let problem = Problem::Overlap { first: excerpt(&first.name), second: excerpt(&second.name) };
            return Err((pair[1], problem));
        }
    }
    Ok(order.last().map(|last| tensors[*last].offset + tensors[*last].bytes))
}
