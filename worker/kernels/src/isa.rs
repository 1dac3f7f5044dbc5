//! Which instructions this CPU has.

use std::sync::OnceLock;

/// A set of instructions that kernels are written for.
///
/// A kernel takes an `Isa` and trusts it: the variants beside
/// [`Isa::Portable`] can be had only where [`Isa::is_available`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust: the definition of every kernel's result.
    Portable,
    /// AVX2 and FMA.
    Avx2,
    /// AVX-512 F, BW, VL and VNNI.
    Avx512Vnni,
}

impl Isa {
    /// Every variant, slowest first.
    pub const ALL: &'static [Isa] = &[Isa::Portable, Isa::Avx2, Isa::Avx512Vnni];

    /// The best that this CPU has; found once.
    #[must_use]
    pub fn detect() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| {
            Self::ALL.iter().rev().copied().find(|isa| isa.is_available()).unwrap_or(Isa::Portable)
        })
    }

    /// Whether this CPU has the instructions.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512Vnni => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_detected_is_available_and_nothing_better_is() {
        let best = Isa::detect();
        assert!(best.is_available());
        assert!(Isa::ALL.iter().all(|isa| *isa <= best || !isa.is_available()));
    }
}
