//! Metadata values.

use super::cursor::{Cursor, Stop};
use crate::{Array, Problem, Value};

/// Bytes of a string value: a chat template, or a whole tokenizer as JSON.
const MAX_STRING_BYTES: u64 = 16 << 20;

/// Elements of an array: sixteen times the largest vocabulary in use.
const MAX_ELEMENTS: u64 = 4 << 20;

/// Arrays within arrays. No known key nests them at all.
const MAX_DEPTH: u64 = 3;

/// A type and a value of it.
pub(super) fn value(cursor: &mut Cursor<'_>) -> Result<Value, Stop> {
    const WHAT: &str = "a metadata value";
    let at = cursor.offset();
    Ok(match cursor.u32("a metadata value's type")? {
        0 => Value::U8(u8::from_le_bytes(cursor.array(WHAT)?)),
        1 => Value::I8(i8::from_le_bytes(cursor.array(WHAT)?)),
        2 => Value::U16(u16::from_le_bytes(cursor.array(WHAT)?)),
        3 => Value::I16(i16::from_le_bytes(cursor.array(WHAT)?)),
        4 => Value::U32(u32::from_le_bytes(cursor.array(WHAT)?)),
        5 => Value::I32(i32::from_le_bytes(cursor.array(WHAT)?)),
        6 => Value::F32(f32::from_le_bytes(cursor.array(WHAT)?)),
        7 => Value::Bool(bools(cursor, 1)?[0]),
        8 => Value::String(cursor.string(WHAT, MAX_STRING_BYTES)?.to_owned()),
        9 => Value::Array(array(cursor, 1)?),
        10 => Value::U64(u64::from_le_bytes(cursor.array(WHAT)?)),
        11 => Value::I64(i64::from_le_bytes(cursor.array(WHAT)?)),
        12 => Value::F64(f64::from_le_bytes(cursor.array(WHAT)?)),
        found => return Err(Stop::bad(at, Problem::ValueType { found })),
    })
}

/// An element type, a length and the elements.
fn array(cursor: &mut Cursor<'_>, depth: u64) -> Result<Array, Stop> {
    const WHAT: &str = "a metadata array";
    let at = cursor.offset();
    if depth > MAX_DEPTH {
        let problem = Problem::TooLarge { what: "the nesting of arrays", found: depth, allowed: MAX_DEPTH };
        return Err(Stop::bad(at, problem));
    }
    let element = cursor.u32("an array's element type")?;
    let len = cursor.count("the length of a metadata array", MAX_ELEMENTS)?;
    Ok(match element {
        0 => Array::U8(numbers(cursor, len, u8::from_le_bytes)?),
        1 => Array::I8(numbers(cursor, len, i8::from_le_bytes)?),
        2 => Array::U16(numbers(cursor, len, u16::from_le_bytes)?),
        3 => Array::I16(numbers(cursor, len, i16::from_le_bytes)?),
        4 => Array::U32(numbers(cursor, len, u32::from_le_bytes)?),
        5 => Array::I32(numbers(cursor, len, i32::from_le_bytes)?),
        6 => Array::F32(numbers(cursor, len, f32::from_le_bytes)?),
        7 => Array::Bool(bools(cursor, len)?),
        8 => {
            let mut out = Vec::with_capacity(cursor.at_most(len, 8));
            for _ in 0..len {
                out.push(cursor.string(WHAT, MAX_STRING_BYTES)?.to_owned());
            }
            Array::String(out)
        }
        9 => {
            // An empty array takes 12 bytes.
            let mut out = Vec::with_capacity(cursor.at_most(len, 12));
            for _ in 0..len {
                out.push(array(cursor, depth + 1)?);
            }
            Array::Array(out)
        }
        10 => Array::U64(numbers(cursor, len, u64::from_le_bytes)?),
        11 => Array::I64(numbers(cursor, len, i64::from_le_bytes)?),
        12 => Array::F64(numbers(cursor, len, f64::from_le_bytes)?),
        found => return Err(Stop::bad(at, Problem::ValueType { found })),
    })
}

/// `len` numbers of `N` bytes each. Nothing is allocated before all are there.
fn numbers<const N: usize, T>(
    cursor: &mut Cursor<'_>,
    len: u64,
    from: fn([u8; N]) -> T,
) -> Result<Vec<T>, Stop> {
    let bytes = cursor.take("a metadata array", len.saturating_mul(N as u64))?;
    let (chunks, _) = bytes.as_chunks::<N>();
    Ok(chunks.iter().map(|c| from(*c)).collect())
}

fn bools(cursor: &mut Cursor<'_>, len: u64) -> Result<Vec<bool>, Stop> {
    let at = cursor.offset();
    let bytes = cursor.take("a bool", len)?;
    let truth = |(i, b): (usize, &u8)| match b {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Stop::bad(at + i as u64, Problem::Bool { found: *b })),
    };
    bytes.iter().enumerate().map(truth).collect()
}
