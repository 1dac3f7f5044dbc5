//! Multiplying and adding, in registers alone.

const ROUNDS: u64 = 1 << 22;
const PASSES: usize = 8;

/// The best instruction for products of bf16; without one, of `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tile,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Fma,
    Plain,
}

impl Instruction {
    pub(crate) fn best() -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if x86::tiles_are_granted() {
            return Self::Tile;
        }
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2") {
                return Self::Fma;
            }
        }
        Self::Plain
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tile => "tdpbf16ps",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "vdpbf16ps (512 bits)",
            #[cfg(target_arch = "x86_64")]
            Self::Fma => "vfmadd231ps (256 bits)",
            Self::Plain => "f32",
        }
    }

    /// Operations a second of `threads` threads together.
    pub(crate) fn flops(self, threads: usize) -> f64 {
        let (operations, seconds) = match self {
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            // SAFETY: made only where the CPU has tiles and the kernel grants them.
            Self::Tile => (
                ROUNDS / 64 * x86::TILE_OPERATIONS,
                super::fastest(threads, PASSES, |_| unsafe { x86::tile(ROUNDS / 64) }),
            ),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: made only where the CPU has the instructions.
            Self::Avx512 => (
                ROUNDS * x86::AVX512_OPERATIONS,
                super::fastest(threads, PASSES, |_| unsafe { x86::avx512(ROUNDS) }),
            ),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: made only where the CPU has the instructions.
            Self::Fma => (
                ROUNDS * x86::FMA_OPERATIONS,
                super::fastest(threads, PASSES, |_| unsafe { x86::fma(ROUNDS) }),
            ),
            Self::Plain => (ROUNDS * PLAIN_OPERATIONS, super::fastest(threads, PASSES, |_| plain(ROUNDS))),
        };
        operations as f64 * threads as f64 / seconds
    }
}

const PLAIN_LANES: usize = 64;
const PLAIN_OPERATIONS: u64 = 2 * PLAIN_LANES as u64;

fn plain(rounds: u64) {
    let (mut sums, factor) = ([1.0f32; PLAIN_LANES], std::hint::black_box(0.5f32));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = *sum * factor + factor;
        }
    }
    std::hint::black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, __m512bh, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_dpbf16_ps, _mm512_setzero_ps,
    };
    use std::hint::black_box;

    /// Enough independent sums to hide the latency of an addition.
    const SUMS: usize = 16;
    /// 32 products and 32 additions an instruction.
    pub(super) const AVX512_OPERATIONS: u64 = 64 * SUMS as u64;
    /// 8 products and 8 additions an instruction.
    pub(super) const FMA_OPERATIONS: u64 = 16 * SUMS as u64;

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn avx512(rounds: u64) {
        // SAFETY: any 64 bytes are 32 numbers of bf16.
        let factor: __m512bh = black_box(unsafe { std::mem::transmute::<[u16; 32], __m512bh>([0x3f00; 32]) });
        let mut sums: [__m512; SUMS] = [_mm512_setzero_ps(); SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn fma(rounds: u64) {
        // Twelve sums and a factor fit the sixteen registers; sixteen sums would not,
        // but the compiler keeps what it can and the loads of the rest run beside.
        let factor: __m256 = black_box(_mm256_set1_ps(0.5));
        let mut sums = [factor; SUMS];
        for _ in 0..rounds {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        black_box(sums);
    }

    #[cfg(target_os = "linux")]
    pub(super) use tile::{TILE_OPERATIONS, tile, tiles_are_granted};

    #[cfg(target_os = "linux")]
    mod tile {
        use std::arch::asm;
        use std::arch::x86_64::__cpuid_count;

        /// Four instructions of 16 × 16 × 32 products and as many additions.
        pub(in super::super) const TILE_OPERATIONS: u64 = 4 * 2 * 16 * 16 * 32;

        /// Whether the CPU has tiles of bf16 and the kernel lets this process use them.
        pub(in super::super) fn tiles_are_granted() -> bool {
            const TILE_AND_BF16: u32 = 1 << 24 | 1 << 22;
            if __cpuid_count(7, 0).edx & TILE_AND_BF16 != TILE_AND_BF16 {
                return false;
            }
            const ARCH_PRCTL: usize = 158;
            const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
            const TILE_DATA: usize = 18;
            let granted: isize;
            // SAFETY: the call asks for a permission and touches no memory of ours.
            unsafe {
                asm!(
                    "syscall",
                    inlateout("rax") ARCH_PRCTL => granted,
                    in("rdi") ARCH_REQ_XCOMP_PERM,
                    in("rsi") TILE_DATA,
                    lateout("rcx") _,
                    lateout("r11") _,
                    options(nostack),
                );
            }
            granted == 0
        }

        /// Eight tiles of 16 rows of 64 bytes.
        #[repr(C, align(64))]
        struct Config {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }

        /// # Safety
        /// [`tiles_are_granted`] has said so.
        pub(in super::super) unsafe fn tile(rounds: u64) {
            let mut config =
                Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
            config.row_bytes[..8].fill(64);
            config.rows[..8].fill(16);
            // SAFETY: the caller's promise. All tiles are configured, written before
            // they are read, named as clobbered, and given back at the end.
            unsafe {
                asm!(
                    "ldtilecfg [{config}]",
                    "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                    "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                    "2:",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "dec {rounds}",
                    "jnz 2b",
                    "tilerelease",
                    config = in(reg) &raw const config,
                    rounds = inout(reg) rounds.max(1) => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    }
}
