//! Which instructions this CPU has.

use std::sync::OnceLock;

/// A set of instructions that kernels are written for.
///
/// A value is proof that this CPU has the instructions: outside this module the
/// variants can be matched but not made, so that kernels that take one are safe to
/// call. [`Isa::Portable`] is everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust: the definition of every kernel's result.
    Portable,
    /// AVX2, FMA and F16C.
    #[non_exhaustive]
    Avx2,
    /// [`Isa::Avx2`] and AVX-VNNI.
    #[non_exhaustive]
    AvxVnni,
    /// AVX-512 F, BW, VL and VNNI.
    #[non_exhaustive]
    Avx512Vnni,
}

impl Isa {
    /// Every set, worst first.
    const ALL: [Isa; 4] = [Isa::Portable, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni];

    /// The best that this CPU has; found once.
    #[must_use]
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::available().last().unwrap_or(Isa::Portable))
    }

    /// All that this CPU has, worst first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|isa| isa.is_available())
    }

    fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => Isa::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_the_last_that_is_there() {
        assert_eq!(Isa::available().next(), Some(Isa::Portable));
        assert_eq!(Isa::available().last(), Some(Isa::detect()));
        assert!(Isa::available().is_sorted());
    }
}
