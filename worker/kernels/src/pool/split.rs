//! Things that the chunks of a phase take apart.

use std::marker::PhantomData;

/// Something of which every chunk of a phase gets a part.
///
/// # Safety
/// Parts of different indices below [`Split::len`] share nothing that either may
/// write, for as long as they live.
pub unsafe trait Split: Sync {
    /// What a chunk gets.
    type Part;

    /// Parts.
    fn len(&self) -> usize;

    /// Whether there is nothing to do.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Part `index`.
    ///
    /// # Safety
    /// `index` is below [`Split::len`] and was not asked for before.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// A slice in pieces of the same length; the last one may be shorter.
#[derive(Debug)]
pub struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    each: usize,
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]` of which threads get disjoint pieces.
unsafe impl<T: Send> Send for Chunks<'_, T> {}
// SAFETY: as above: what is shared is handed out as exclusive pieces, by `unsafe` calls.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    /// Pieces of `each` elements.
    ///
    /// # Panics
    /// `each` is 0.
    #[must_use]
    pub fn new(slice: &'a mut [T], each: usize) -> Self {
        assert!(each > 0, "pieces without elements");
        Self { start: slice.as_mut_ptr(), len: slice.len(), each, memory: PhantomData }
    }
}

// SAFETY: pieces of different indices do not overlap.
unsafe impl<'a, T: Send> Split for Chunks<'a, T> {
    type Part = &'a mut [T];

    fn len(&self) -> usize {
        self.len.div_ceil(self.each)
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let at = index * self.each;
        assert!(at < self.len, "no piece {index}");
        // SAFETY: within the slice, and by the caller's contract nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), self.each.min(self.len - at)) }
    }
}

/// Two things that are taken apart together.
#[derive(Debug)]
pub struct Both<A, B> {
    a: A,
    b: B,
}

impl<A: Split, B: Split> Both<A, B> {
    /// Pairs of parts.
    ///
    /// # Panics
    /// One has more parts than the other.
    #[must_use]
    pub fn new(a: A, b: B) -> Self {
        assert_eq!(a.len(), b.len(), "parts without a partner");
        Self { a, b }
    }
}

// SAFETY: parts are pairs of parts.
unsafe impl<A: Split, B: Split> Split for Both<A, B> {
    type Part = (A::Part, B::Part);

    fn len(&self) -> usize {
        self.a.len()
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        // SAFETY: the caller's contract.
        unsafe { (self.a.part(index), self.b.part(index)) }
    }
}
