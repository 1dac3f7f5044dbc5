//! Pages of keys and values.
//!
//! A page holds [`PAGE_TOKENS`] consecutive tokens of one layer. Each key head has its
//! keys and then its values together, so that whoever attends to a head reads one
//! stretch of memory:
//!
//! - keys `[key_dim][32 tokens]`: 16 tokens are a vector, so that a product of a query
//!   with keys needs no sum across lanes, and a vector of keys, once widened, serves
//!   all queries of the head's group;
//! - values `[32 tokens][value_dim]`: 16 elements are a vector. Rows are padded to
//!   whole vectors, with zeros.
//!
//! [`Kind::Q8_0`] keeps bytes, with a half-precision scale for 32 elements of a
//! token's vector: keys `[key_dim][32 tokens]`, then scales `[blocks][32 tokens]`;
//! values `[32 tokens][blocks · 32]`, then scales `[32 tokens][blocks]`. A byte times a
//! scale is exact in `f32`.

mod append;
#[cfg(test)]
mod tests;
mod widen;

pub(crate) use widen::{widen_keys, widen_values};

use crate::lanes::LANES;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 32;

/// Elements that share a scale.
pub(crate) const BLOCK: usize = 32;

/// How a page keeps its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum Kind {
    /// As they were computed: what the others are compared with.
    F32,
    /// Half precision.
    F16,
    /// Bytes with a scale for 32 of them.
    Q8_0,
}

/// The outline of a layer's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PageForm {
    kind: Kind,
    kv_heads: usize,
    key_dim: usize,
    value_dim: usize,
    key_bytes: usize,
    head_bytes: usize,
}

impl PageForm {
    /// Pages of `kv_heads` heads with keys of `key_dim` and values of `value_dim`
    /// elements; `None` if one is 0 or a page is larger than memories are.
    #[must_use]
    pub fn new(kind: Kind, kv_heads: usize, key_dim: usize, value_dim: usize) -> Option<Self> {
        if kv_heads == 0 || key_dim == 0 || value_dim == 0 {
            return None;
        }
        let vectors = |dim: usize, unit: usize, bytes: usize| {
            dim.checked_next_multiple_of(unit)?.checked_mul(bytes)?.checked_mul(PAGE_TOKENS)
        };
        let (keys, values) = match kind {
            Kind::F32 => (vectors(key_dim, 1, 4)?, vectors(value_dim, LANES, 4)?),
            Kind::F16 => (vectors(key_dim, 1, 2)?, vectors(value_dim, LANES, 2)?),
            Kind::Q8_0 => {
                let with_scales = |dim| {
                    let codes = vectors(dim, BLOCK, 1)?;
                    codes.checked_add(codes / BLOCK * 2)
                };
                (with_scales(key_dim)?, with_scales(value_dim)?)
            }
        };
        let head_bytes = keys.checked_add(values)?;
        head_bytes.checked_mul(kv_heads).filter(|bytes| isize::try_from(*bytes).is_ok())?;
        Some(Self { kind, kv_heads, key_dim, value_dim, key_bytes: keys, head_bytes })
    }

    /// Bytes of a page: a multiple of 64.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.head_bytes * self.kv_heads
    }

    /// How its numbers are kept.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Key and value heads.
    #[must_use]
    pub fn kv_heads(&self) -> usize {
        self.kv_heads
    }

    /// Elements of a key.
    #[must_use]
    pub fn key_dim(&self) -> usize {
        self.key_dim
    }

    /// Elements of a value.
    #[must_use]
    pub fn value_dim(&self) -> usize {
        self.value_dim
    }

    /// Elements of a value, padded to whole vectors.
    pub(crate) fn padded_value_dim(&self) -> usize {
        self.value_dim.next_multiple_of(LANES)
    }

    /// Elements between the values of two tokens.
    pub(crate) fn value_stride(&self) -> usize {
        match self.kind {
            Kind::F32 | Kind::F16 => self.padded_value_dim(),
            Kind::Q8_0 => self.value_dim.next_multiple_of(BLOCK),
        }
    }

    /// The keys and the values of a head.
    ///
    /// # Panics
    /// `page` is not one of this form, or has no such head.
    pub(crate) fn head<'a>(&self, page: &'a [u8], head: usize) -> (&'a [u8], &'a [u8]) {
        assert!(page.len() == self.bytes() && head < self.kv_heads, "no head {head} in such a page");
        page[head * self.head_bytes..][..self.head_bytes].split_at(self.key_bytes)
    }
}
