//! Element types of tensors, packed or plain.

use serde::{Deserialize, Serialize};

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $block:literal, $bytes:literal;)+) => {
        /// How the numbers of a tensor are stored.
        ///
        /// A packed type stores rows as whole blocks of [`DType::block_len`]
        /// elements in [`DType::block_bytes`] bytes each; a plain type is a
        /// block of one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[allow(non_camel_case_types)]
        pub enum DType { $($(#[$doc])* $variant,)+ }

        impl DType {
            /// Every type that a header may name.
            pub const ALL: &'static [DType] = &[$(DType::$variant,)+];

            /// The type that a GGUF header means by `id`.
            #[must_use]
            pub const fn from_gguf(id: u32) -> Option<Self> {
                match id { $($id => Some(Self::$variant),)+ _ => None }
            }

            /// What a GGUF header calls this type.
            #[must_use]
            pub const fn gguf_id(self) -> u32 {
                match self { $(Self::$variant => $id,)+ }
            }

            /// The name that people and file names use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Elements in a block.
            #[must_use]
            pub const fn block_len(self) -> u64 {
                match self { $(Self::$variant => $block,)+ }
            }

            /// Bytes in a block.
            #[must_use]
            pub const fn block_bytes(self) -> u64 {
                match self { $(Self::$variant => $bytes,)+ }
            }
        }
    };
}

dtypes! {
    /// 32-bit IEEE float.
    F32 = 0, "F32", 1, 4;
    /// 16-bit IEEE float.
    F16 = 1, "F16", 1, 2;
    /// 4 bits and a scale a block of 32.
    Q4_0 = 2, "Q4_0", 32, 18;
    /// 4 bits, a scale and a minimum a block of 32.
    Q4_1 = 3, "Q4_1", 32, 20;
    /// 5 bits and a scale a block of 32.
    Q5_0 = 6, "Q5_0", 32, 22;
    /// 5 bits, a scale and a minimum a block of 32.
    Q5_1 = 7, "Q5_1", 32, 24;
    /// 8 bits and a scale a block of 32.
    Q8_0 = 8, "Q8_0", 32, 34;
    /// 8 bits, a scale and a sum a block of 32; an activation type.
    Q8_1 = 9, "Q8_1", 32, 36;
    /// 2 bits, blocks of 256 with 4-bit scales and minima a 16.
    Q2_K = 10, "Q2_K", 256, 84;
    /// 3 bits, blocks of 256 with 6-bit scales a 16.
    Q3_K = 11, "Q3_K", 256, 110;
    /// 4 bits, blocks of 256 with 6-bit scales and minima a 32.
    Q4_K = 12, "Q4_K", 256, 144;
    /// 5 bits, blocks of 256 with 6-bit scales and minima a 32.
    Q5_K = 13, "Q5_K", 256, 176;
    /// 6 bits, blocks of 256 with 8-bit scales a 16.
    Q6_K = 14, "Q6_K", 256, 210;
    /// 8 bits, blocks of 256; an activation type.
    Q8_K = 15, "Q8_K", 256, 292;
    /// 2.06 bits, codebook.
    IQ2_XXS = 16, "IQ2_XXS", 256, 66;
    /// 2.31 bits, codebook.
    IQ2_XS = 17, "IQ2_XS", 256, 74;
    /// 3.06 bits, codebook.
    IQ3_XXS = 18, "IQ3_XXS", 256, 98;
    /// 1.56 bits, codebook.
    IQ1_S = 19, "IQ1_S", 256, 50;
    /// 4 bits through a fixed table, a scale a block of 32.
    IQ4_NL = 20, "IQ4_NL", 32, 18;
    /// 3.44 bits, codebook.
    IQ3_S = 21, "IQ3_S", 256, 110;
    /// 2.56 bits, codebook.
    IQ2_S = 22, "IQ2_S", 256, 82;
    /// 4 bits through a fixed table, blocks of 256 with 6-bit scales a 32.
    IQ4_XS = 23, "IQ4_XS", 256, 136;
    /// 8-bit integer.
    I8 = 24, "I8", 1, 1;
    /// 16-bit integer.
    I16 = 25, "I16", 1, 2;
    /// 32-bit integer.
    I32 = 26, "I32", 1, 4;
    /// 64-bit integer.
    I64 = 27, "I64", 1, 8;
    /// 64-bit IEEE float.
    F64 = 28, "F64", 1, 8;
    /// 1.75 bits, codebook.
    IQ1_M = 29, "IQ1_M", 256, 56;
    /// 16-bit float with 8 bits of exponent.
    BF16 = 30, "BF16", 1, 2;
    /// Ternary, 1.69 bits.
    TQ1_0 = 34, "TQ1_0", 256, 54;
    /// Ternary, 2.06 bits.
    TQ2_0 = 35, "TQ2_0", 256, 66;
    /// 4-bit floats that share an exponent a block of 32.
    MXFP4 = 39, "MXFP4", 32, 17;
}

impl DType {
    /// The types that the reference engine reads, in the order of their ids.
    pub const READABLE: &'static [DType] = &[
        DType::F32,
        DType::F16,
        DType::Q4_0,
        DType::Q4_1,
        DType::Q5_0,
        DType::Q5_1,
        DType::Q8_0,
        DType::Q2_K,
        DType::Q3_K,
        DType::Q4_K,
        DType::Q5_K,
        DType::Q6_K,
        DType::IQ4_NL,
        DType::IQ4_XS,
        DType::BF16,
    ];

    /// Whether the reference engine reads tensors of this type.
    #[must_use]
    pub fn is_readable(self) -> bool {
        Self::READABLE.contains(&self)
    }

    /// Bytes that `elements` take; `None` if they are not whole blocks or the
    /// number does not fit.
    #[must_use]
    pub fn bytes_for(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_len()) {
            return None;
        }
        (elements / self.block_len()).checked_mul(self.block_bytes())
    }
}

impl std::fmt::Display for DType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_are_unique_and_round_trip() {
        for (i, a) in DType::ALL.iter().enumerate() {
            assert_eq!(DType::from_gguf(a.gguf_id()), Some(*a));
            for b in &DType::ALL[i + 1..] {
                assert_ne!(a.gguf_id(), b.gguf_id());
                assert_ne!(a.name(), b.name());
            }
        }
    }

    #[test]
    fn bytes_are_whole_blocks() {
        assert_eq!(DType::Q4_1.bytes_for(64), Some(40));
        assert_eq!(DType::Q4_1.bytes_for(33), None);
        assert_eq!(DType::F64.bytes_for(u64::MAX), None);
    }
}
