//! Vectors of 16 numbers, for the kernels that are not integer products.
//!
//! A kernel is written once, over [`Lanes`], and compiled for each set of
//! instructions ([`kernel`]). Every operation is exact or one IEEE rounding of each
//! lane, so all sets give the same bits, and [`Portable`], which is plain arithmetic
//! on an array, says what they are.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use {avx2::Avx2, avx512::Avx512};
pub(crate) use {exp::exp, exp::sigmoid, exp::tanh, portable::Portable};

/// Lanes of a vector.
pub(crate) const LANES: usize = 16;

/// 16 `f32`.
///
/// # Safety of every function
/// The CPU has the instructions of the set, and pointers may be read or written for
/// the length that the function names; no alignment is asked for. Functions are
/// inlined into callers that have the set's target features.
pub(crate) trait Lanes: Copy {
    /// Rows of queries that an attention kernel keeps in registers.
    const ROWS: usize;

    /// A number in all lanes.
    unsafe fn splat(value: f32) -> Self;
    /// 16 `f32`.
    unsafe fn load(from: *const f32) -> Self;
    /// 16 half-precision numbers.
    unsafe fn load_f16(from: *const u16) -> Self;
    /// 16 signed bytes.
    unsafe fn load_i8(from: *const i8) -> Self;
    /// Writes 16 `f32`.
    unsafe fn store(self, to: *mut f32);
    /// Writes the nearest 16 half-precision numbers.
    unsafe fn store_f16(self, to: *mut u16);
    /// Sums.
    unsafe fn add(self, other: Self) -> Self;
    /// Differences.
    unsafe fn sub(self, other: Self) -> Self;
    /// Products.
    unsafe fn mul(self, other: Self) -> Self;
    /// Quotients.
    unsafe fn div(self, other: Self) -> Self;
    /// `self * by + plus` in one rounding.
    unsafe fn fma(self, by: Self, plus: Self) -> Self;
    /// `self` where it is greater, `other` elsewhere, and where one is not a number.
    unsafe fn max(self, other: Self) -> Self;
    /// `self` where it is less, `other` elsewhere, and where one is not a number.
    unsafe fn min(self, other: Self) -> Self;
    /// `self` times two to the `n`, where `n` is the integer in the low bits of
    /// `count` = 1.5 · 2²³ + n, and the result is a normal number.
    unsafe fn scale(self, count: Self) -> Self;
    /// 0 in the lanes where `x` is less than `limit`, `self` elsewhere.
    unsafe fn zero_below(self, x: Self, limit: Self) -> Self;

    /// The lanes.
    #[inline(always)]
    unsafe fn lanes(self) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: as many numbers.
        unsafe { self.store(lanes.as_mut_ptr()) };
        lanes
    }

    /// The sum of the lanes: halves are added to each other, four times.
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller's contract.
        fold(unsafe { self.lanes() }, |a, b| a + b)
    }

    /// The greatest lane. What is not a number is passed over or not.
    #[inline(always)]
    unsafe fn greatest(self) -> f32 {
        // SAFETY: the caller's contract.
        fold(unsafe { self.lanes() }, |a, b| if a > b { a } else { b })
    }
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], with: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = with(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Defines a safe function that runs a body, generic over [`Lanes`], on the
/// instructions of an [`Isa`](crate::isa::Isa).
///
/// The block checks what the body needs of its arguments.
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        $visible:vis fn $name:ident $(<$($generic:lifetime),*>)? ($($argument:ident: $type:ty),* $(,)?) $(-> $out:ty)? as $body:ident
        $check:block
    ) => {
        $(#[$attribute])*
        #[allow(clippy::too_many_arguments)]
        $visible fn $name $(<$($generic),*>)? (isa: $crate::isa::Isa, $($argument: $type),*) $(-> $out)? {
            $check
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx512 $(<$($generic),*>)? ($($argument: $type),*) $(-> $out)? {
                // SAFETY: the caller's contract.
                unsafe { $body::<$crate::lanes::Avx512>($($argument),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            #[allow(clippy::too_many_arguments)]
            unsafe fn avx2 $(<$($generic),*>)? ($($argument: $type),*) $(-> $out)? {
                // SAFETY: the caller's contract.
                unsafe { $body::<$crate::lanes::Avx2>($($argument),*) }
            }
            // SAFETY: a value of `Isa` is proof that this CPU has the instructions,
            // portable code asks for none, and the arguments were checked above.
            unsafe {
                match isa {
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx512Vnni => avx512($($argument),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::isa::Isa::Avx2 | $crate::isa::Isa::AvxVnni => avx2($($argument),*),
                    _ => $body::<$crate::lanes::Portable>($($argument),*),
                }
            }
        }
    };
}
pub(crate) use kernel;
