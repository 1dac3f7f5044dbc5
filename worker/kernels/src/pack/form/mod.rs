//! The packed form of each quantized type: how its codes lie, and its scales.

pub(crate) mod codes;
pub(crate) mod scales;

pub(crate) use codes::{Codes, LINE};
pub(crate) use scales::Scales;

use hearth_model::packing::{ALIGNMENT, BLOCK_INPUTS, GROUP_INPUTS};

/// Inputs of a block.
pub(crate) const BLOCK: usize = BLOCK_INPUTS as usize;
/// The most blocks of a group.
pub(crate) const MOST: usize = (GROUP_INPUTS / BLOCK_INPUTS) as usize;

/// A quantized type.
pub(crate) trait Form {
    /// Its codes.
    type Codes: Codes;
    /// Its scales.
    type Scales: Scales;

    /// Bytes of the scales of a group of `blocks`, up to its codes.
    #[inline(always)]
    fn head_bytes(blocks: usize) -> usize {
        let bytes = Self::Scales::SHARED + blocks * Self::Scales::BLOCK;
        bytes.next_multiple_of(ALIGNMENT as usize)
    }
}

/// Any pair of codes and scales is a form.
pub(crate) struct Of<C, S>(std::marker::PhantomData<(C, S)>);

impl<C: Codes, S: Scales> Form for Of<C, S> {
    type Codes = C;
    type Scales = S;
}

/// Evaluates `$with` with the type `$form` that belongs to `$dtype`, or `$else` for a
/// type that has none.
macro_rules! with_form {
    ($dtype:expr, $form:ident => $with:expr, else $else:expr) => {{
        use hearth_model::DType;
        use $crate::pack::form::Of;
        use $crate::pack::form::codes::{Bytes, Fives, NONE, Nibbles, Pairs, Sixes, Table, Threes};
        use $crate::pack::form::scales::{HalfPairs, Halves, Super, SuperHalves, SuperNibbles, SuperPairs};
        macro_rules! with {
            ($codes:ty, $scales:ty) => {{
                type $form = Of<$codes, $scales>;
                $with
            }};
        }
        match $dtype {
            DType::Q4_0 => with!(Nibbles<3>, Halves),
            DType::Q4_1 => with!(Nibbles<NONE>, HalfPairs),
            DType::Q5_0 => with!(Fives<4>, Halves),
            DType::Q5_1 => with!(Fives<NONE>, HalfPairs),
            DType::Q8_0 => with!(Bytes, Halves),
            DType::Q2_K => with!(Pairs, SuperNibbles),
            DType::Q3_K => with!(Threes, SuperHalves),
            DType::Q4_K => with!(Nibbles<NONE>, SuperPairs),
            DType::Q5_K => with!(Fives<NONE>, SuperPairs),
            DType::Q6_K => with!(Sixes, SuperHalves),
            DType::IQ4_NL => with!(Table, Halves),
            DType::IQ4_XS => with!(Table, Super),
            _ => $else,
        }
    }};
}
pub(crate) use with_form;

#[cfg(test)]
mod tests {
    use super::*;

    /// The planner's sizes are those of the forms.
    #[test]
    fn forms_have_the_sizes_that_the_planner_computes() {
        fn bytes<F: Form>(blocks: usize) -> u64 {
            let group = |n| if n == 0 { 0 } else { F::head_bytes(n) + n * F::Codes::BYTES };
            let full = F::Scales::GROUP;
            (blocks / full * group(full) + group(blocks % full)) as u64
        }
        for dtype in hearth_model::DType::READABLE {
            for blocks in 1..40 {
                let inputs = (blocks * BLOCK) as u64;
                let Some(planned) = hearth_model::packing::tile_bytes(*dtype, inputs) else { continue };
                with_form!(*dtype, F => assert_eq!(bytes::<F>(blocks), planned, "{dtype} {blocks}"), else {});
            }
        }
    }
}
