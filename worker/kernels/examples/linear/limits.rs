//! What the machine can do at most.

use std::hint::black_box;

use hearth_kernels::arena::Arena;

use super::best;

/// Bytes a second that `threads` threads read of huge pages, and nothing else.
pub(crate) fn read_bytes(threads: usize, bytes: usize) -> f64 {
    let mut memory = Arena::new(bytes).expect("memory");
    memory.fill(1);
    let part = bytes / threads / 256 * 256;
    let time = best(threads, |thread| {
        let words = memory[thread * part..][..part].as_chunks::<8>().0.as_chunks::<32>().0;
        let mut sums = [0u64; 32];
        for words in words {
            for (sum, word) in sums.iter_mut().zip(words) {
                *sum ^= u64::from_ne_bytes(*word);
            }
        }
        black_box(sums);
    });
    (part * threads) as f64 / time
}

/// Rounds of a loop of eight instructions.
const ROUNDS: u64 = 2_000_000;

macro_rules! peak {
    ($name:ident, $doc:literal, $instruction:literal, $registers:literal, $feature:tt, $operations:literal) => {
        #[doc = $doc]
        pub(crate) fn $name(threads: usize) -> f64 {
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!($feature) {
                let time = best(threads, |_| {
                    // SAFETY: arithmetic on vector registers, all named as clobbered.
                    unsafe {
                        std::arch::asm!(
                            "2:",
                            concat!($instruction, " ", $registers, "0, ", $registers, "8, ", $registers, "9"),
                            concat!($instruction, " ", $registers, "1, ", $registers, "8, ", $registers, "9"),
                            concat!($instruction, " ", $registers, "2, ", $registers, "8, ", $registers, "9"),
                            concat!($instruction, " ", $registers, "3, ", $registers, "8, ", $registers, "9"),
                            concat!($instruction, " ", $registers, "4, ", $registers, "8, ", $registers, "9"),
                            concat!($instruction, " ", $registers, "5, ", $registers, "8, ", $registers, "9"),
                            concat!($instruction, " ", $registers, "6, ", $registers, "8, ", $registers, "9"),
                            concat!($instruction, " ", $registers, "7, ", $registers, "8, ", $registers, "9"),
                            "dec {n}",
                            "jnz 2b",
                            n = inout(reg) ROUNDS => _,
                            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _,
                            out("xmm5") _, out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _,
                        );
                    }
                });
                return (threads as u64 * ROUNDS * 8 * $operations) as f64 / time;
            }
            let _ = threads;
            f64::NAN
        }
    };
}

peak!(
    byte_operations,
    "Operations a second of multiply-adds of bytes in registers.",
    "vpdpbusd",
    "zmm",
    "avx512vnni",
    128
);
peak!(
    float_operations,
    "Operations a second of fused multiply-adds of floats in registers.",
    "vfmadd231ps",
    "zmm",
    "avx512f",
    32
);
