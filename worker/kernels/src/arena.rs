//! Memory for weights, pages and scratch: large, aligned, given back at once.
//!
//! Reading weights is what decoding waits for, and a translation buffer does not
//! reach over them in pages of 4 KiB: on huge pages the same two threads read half
//! as much again. So an arena is its own mapping, aligned to huge pages and advised
//! for them. Unmapping gives every byte back, whatever an allocator would keep.

use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// What the parts of an arena start at multiples of: a cache line.
pub const ALIGNMENT: usize = 64;

/// The size of a huge page on the machines that have them.
const HUGE: usize = 2 << 20;

/// Memory of its own, zero at first.
#[derive(Debug)]
pub struct Arena {
    /// At a multiple of [`HUGE`]; dangling, at one of [`ALIGNMENT`], if `len` is 0.
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: an arena owns its memory as a `Vec<u8>` does.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

/// The operating system has no such memory.
#[derive(Debug, thiserror::Error)]
#[error("{bytes} bytes of memory cannot be had")]
pub struct ArenaError {
    /// Bytes wanted.
    pub bytes: usize,
    /// What the operating system said; nothing if no address space is as large.
    #[source]
    pub source: Option<std::io::Error>,
}

impl Arena {
    /// Maps `len` bytes. They take memory as they are first written.
    ///
    /// # Errors
    /// There is no address space, or no memory that may be promised.
    pub fn new(len: usize) -> Result<Self, ArenaError> {
        if len == 0 {
            return Ok(Self { start: dangling(), len });
        }
        let too_large = || ArenaError { bytes: len, source: None };
        let whole = len.checked_next_multiple_of(PAGE).ok_or_else(too_large)?;
        let wide = whole.checked_add(HUGE).filter(|wide| isize::try_from(*wide).is_ok());
        let wide = wide.ok_or_else(too_large)?;
        let (read_write, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: a new mapping at an address of the system's choice.
        let mapped = unsafe { mmap_anonymous(std::ptr::null_mut(), wide, read_write, private) };
        let mapped = mapped.map_err(|error| ArenaError { bytes: len, source: Some(error.into()) })?;
        let before = mapped.cast::<u8>().align_offset(HUGE);
        // SAFETY: `before` is less than `HUGE`, so the aligned part lies within the
        // mapping; nobody has a pointer to what is unmapped on its sides.
        let start = unsafe {
            let start = mapped.cast::<u8>().add(before);
            unmap(mapped.cast(), before);
            unmap(start.add(whole), HUGE - before);
            start
        };
        // A mapping is never at address 0.
        let arena = Self { start: NonNull::new(start).ok_or_else(too_large)?, len };
        arena.advise();
        Ok(arena)
    }

    /// Asks for huge pages where they fit whole: a tail shorter than one stays on
    /// small pages, so that an arena takes no more than its bytes.
    fn advise(&self) {
        #[cfg(target_os = "linux")]
        {
            let bytes = self.len / HUGE * HUGE;
            // Without them memory is slower and as good.
            // SAFETY: the advice changes no contents, and the range is the arena's.
            let _ = unsafe {
                rustix::mm::madvise(self.start.as_ptr().cast(), bytes, rustix::mm::Advice::LinuxHugepage)
            };
        }
    }
}

/// The granularity of mappings, at least; a multiple of it on most machines.
const PAGE: usize = 64 << 10;

/// # Safety
/// The range is mapped, a multiple of the system's pages, and nobody uses it.
unsafe fn unmap(start: *mut u8, bytes: usize) {
    if bytes > 0 {
        // SAFETY: the caller's contract. It fails for ranges that are not whole
        // pages only, and then nothing is unmapped.
        let _ = unsafe { munmap(start.cast(), bytes) };
    }
}

const fn dangling() -> NonNull<u8> {
    NonNull::<Line>::dangling().cast()
}

#[repr(align(64))]
struct Line;

const _: () = assert!(align_of::<Line>() == ALIGNMENT);

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the arena's own mapping, rounded as when it was made; the borrow
        // checker sees to it that nobody uses it.
        unsafe { unmap(self.start.as_ptr(), self.len.next_multiple_of(PAGE)) };
    }
}

impl Deref for Arena {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped and zeroed by the system, and owned.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Arena {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

/// Finds the places of parts in an arena that is still to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places {
    end: usize,
}

impl Places {
    /// The place of `bytes` bytes; `None` if no memory is as large.
    pub fn take(&mut self, bytes: usize) -> Option<Range<usize>> {
        let start = self.end.checked_next_multiple_of(ALIGNMENT)?;
        let end = start.checked_add(bytes).filter(|end| isize::try_from(*end).is_ok())?;
        self.end = end;
        Some(start..end)
    }

    /// Bytes of an arena that has all places.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.end
    }
}

/// An arena of numbers.
#[derive(Debug)]
pub struct Floats(Arena);

impl Floats {
    /// No numbers.
    pub const EMPTY: Self = Self(Arena { start: dangling(), len: 0 });

    /// `len` zeros.
    ///
    /// # Errors
    /// As for [`Arena::new`].
    pub fn zeros(len: usize) -> Result<Self, ArenaError> {
        let bytes = len.checked_mul(size_of::<f32>());
        let bytes = bytes.ok_or(ArenaError { bytes: usize::MAX, source: None })?;
        Arena::new(bytes).map(Self)
    }

    /// Bytes of the numbers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        let Arena { start, len } = &self.0;
        // SAFETY: owned and initialised, aligned to more than a number, whole numbers
        // long; all bits are numbers.
        unsafe { std::slice::from_raw_parts(start.as_ptr().cast(), len / size_of::<f32>()) }
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        let Arena { start, len } = &self.0;
        // SAFETY: as above; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr().cast(), *len / size_of::<f32>()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arenas_are_zero_aligned_and_as_long_as_asked() {
        for len in [1, 4096, HUGE - 1, HUGE, 3 * HUGE + 17] {
            let mut arena = Arena::new(len).unwrap();
            assert_eq!((arena.len(), arena.as_ptr() as usize % HUGE), (len, 0));
            assert!(arena.iter().all(|byte| *byte == 0));
            arena.fill(7);
            assert_eq!(arena.last(), Some(&7));
        }
        assert_eq!(Arena::new(0).unwrap().len(), 0);
    }

    #[test]
    fn what_no_machine_has_is_refused() {
        assert!(Arena::new(usize::MAX).is_err());
        assert!(Arena::new(1 << 62).is_err());
        assert!(Floats::zeros(usize::MAX / 2).is_err());
    }

    #[test]
    fn places_are_aligned_and_disjoint() {
        let mut places = Places::default();
        assert_eq!(places.take(3), Some(0..3));
        assert_eq!(places.take(64), Some(64..128));
        assert_eq!(places.take(0), Some(128..128));
        assert_eq!(places.bytes(), 128);
        assert_eq!(places.take(usize::MAX - 64), None);
        assert_eq!(places.bytes(), 128);
    }

    #[test]
    fn numbers_can_be_written_and_read() {
        let mut numbers = Floats::zeros(5).unwrap();
        numbers[4] = 2.5;
        assert_eq!((&numbers[..], numbers.bytes()), (&[0.0, 0.0, 0.0, 0.0, 2.5][..], 20));
    }

    /// Mapped bytes of the process. Others tests run beside this one, so it looks at a
    /// size that none of them has.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_dropped_arena_is_unmapped() {
        let mapped = || {
            let status = std::fs::read_to_string("/proc/self/statm").unwrap();
            status.split(' ').next().unwrap().parse::<u64>().unwrap() * 4096
        };
        let before = mapped();
        let arena = Arena::new(1 << 30).unwrap();
        assert!(mapped() >= before + (1 << 30) - (1 << 28));
        drop(arena);
        assert!(mapped() < before + (1 << 29));
    }
}
