//! Reading memory.

use std::hint::black_box;
use std::ptr::{self, NonNull};

use anyhow::{Context, ensure};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Far more than any cache.
const BYTES: usize = 512 << 20;
const PASSES: usize = 12;

/// Anonymous memory, on huge pages where the kernel has them.
struct Region {
    start: NonNull<u64>,
}

impl Region {
    fn new() -> anyhow::Result<Self> {
        // SAFETY: a new anonymous mapping overlaps nothing.
        let start = unsafe {
            mmap_anonymous(ptr::null_mut(), BYTES, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        }
        .context("cannot map memory")?;
        let region = Self { start: NonNull::new(start.cast()).context("memory at address 0")? };
        // SAFETY: the range is the mapping; the advice does not change what is in it.
        // A kernel without huge pages refuses, and is measured without them.
        let _ = unsafe { madvise(start, BYTES, Advice::LinuxHugepage) };
        Ok(region)
    }

    fn words(&mut self) -> &mut [u64] {
        // SAFETY: the mapping is that long, page-aligned, zeroed by the kernel, and
        // borrowed for as long as the slice.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), BYTES / size_of::<u64>()) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: nobody borrows it any more. That it cannot fail is of no use to anyone here.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), BYTES) };
    }
}

/// Bytes a second that `threads` threads read together, each from its own part.
pub(crate) fn read(threads: usize) -> anyhow::Result<f64> {
    ensure!((1..=256).contains(&threads), "{threads} threads: 1 to 256 can be measured");
    let mut region = Region::new()?;
    let words = region.words();
    // A page that was never written is not there.
    words.fill(1);
    let part = words.len() / threads;
    let words = &*words;
    let seconds = super::fastest(threads, PASSES, |thread| {
        black_box(sum(&words[thread * part..(thread + 1) * part]));
    });
    Ok((part * threads * size_of::<u64>()) as f64 / seconds)
}

/// Sixteen sums side by side, so that no addition waits for the one before it.
fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; 16];
    for line in words.chunks_exact(16) {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}
