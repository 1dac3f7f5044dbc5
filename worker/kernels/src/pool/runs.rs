//! Slices in pieces that are not alike.

use std::marker::PhantomData;

use super::Split;

/// A slice that is cut at some places.
#[derive(Debug)]
pub struct Runs<'a, T> {
    start: *mut T,
    /// Where each piece ends, rising.
    ends: &'a [usize],
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]` of which threads get disjoint pieces.
unsafe impl<T: Send> Send for Runs<'_, T> {}
// SAFETY: as above: pieces are handed out by `unsafe` calls.
unsafe impl<T: Send> Sync for Runs<'_, T> {}

impl<'a, T> Runs<'a, T> {
    /// Cuts a slice at `ends`; what lies behind the last is in no piece.
    ///
    /// # Panics
    /// `ends` falls somewhere, or the slice ends before its last.
    #[must_use]
    pub fn new(slice: &'a mut [T], ends: &'a [usize]) -> Self {
        assert!(ends.is_sorted(), "pieces end where they begin, or behind it");
        assert!(ends.last().is_none_or(|end| *end <= slice.len()), "no such pieces");
        Self { start: slice.as_mut_ptr(), ends, memory: PhantomData }
    }
}

// SAFETY: pieces are between neighbours of rising ends.
unsafe impl<'a, T: Send> Split for Runs<'a, T> {
    type Part = &'a mut [T];

    fn len(&self) -> usize {
        self.ends.len()
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let end = self.ends[index];
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        // SAFETY: within the slice, and by the caller's contract nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), end - start) }
    }
}

/// Places of a slice of equal pieces that are picked, each at most once, in any order.
///
/// Picking looks for doubles in a list of marks, one a piece, which is kept between
/// uses so that nothing is allocated.
#[derive(Debug, Default)]
pub struct Picks {
    picked: Vec<usize>,
    marks: Vec<bool>,
}

impl Picks {
    /// For up to `picks` pieces of `pieces`.
    #[must_use]
    pub fn with_capacity(picks: usize, pieces: usize) -> Self {
        Self { picked: Vec::with_capacity(picks), marks: vec![false; pieces] }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        for piece in self.picked.drain(..) {
            self.marks[piece] = false;
        }
    }

    /// Picks a piece next; `false`, and not picked, if it was before or is not there.
    pub fn pick(&mut self, piece: usize) -> bool {
        let free = self.marks.get_mut(piece).is_some_and(|mark| !std::mem::replace(mark, true));
        if free {
            self.picked.push(piece);
        }
        free
    }

    /// The pieces picked, of a slice whose pieces have `each` elements.
    ///
    /// # Panics
    /// The slice is shorter than its pieces.
    pub fn of<'a, T>(&'a self, slice: &'a mut [T], each: usize) -> Picked<'a, T> {
        let needed = self.marks.len().checked_mul(each);
        assert!(needed.is_some_and(|needed| needed <= slice.len()), "no such pieces");
        Picked { start: slice.as_mut_ptr(), each, picked: &self.picked, memory: PhantomData }
    }
}

/// What [`Picks`] picked of a slice.
#[derive(Debug)]
pub struct Picked<'a, T> {
    start: *mut T,
    each: usize,
    /// Each piece once.
    picked: &'a [usize],
    memory: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a `&mut [T]` of which threads get disjoint pieces.
unsafe impl<T: Send> Send for Picked<'_, T> {}
// SAFETY: as above: pieces are handed out by `unsafe` calls.
unsafe impl<T: Send> Sync for Picked<'_, T> {}

// SAFETY: no piece was picked twice, and pieces do not overlap.
unsafe impl<'a, T: Send> Split for Picked<'a, T> {
    type Part = &'a mut [T];

    fn len(&self) -> usize {
        self.picked.len()
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let at = self.picked[index] * self.each;
        // SAFETY: within the slice, and by the caller's contract nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(at), self.each) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_between_their_ends() {
        let mut numbers = [0, 1, 2, 3, 4, 5, 6];
        let ends = [2, 2, 6];
        let runs = Runs::new(&mut numbers, &ends);
        // SAFETY: each once.
        let parts = (0..3).map(|i| unsafe { runs.part(i) }.to_vec()).collect::<Vec<_>>();
        assert_eq!(parts, [vec![0, 1], vec![], vec![2, 3, 4, 5]]);
    }

    #[test]
    fn a_piece_is_picked_once() {
        let mut picks = Picks::with_capacity(3, 4);
        for _ in 0..2 {
            assert!(picks.pick(2) && picks.pick(0));
            assert!(!picks.pick(2) && !picks.pick(4));
            let mut numbers = [0, 1, 2, 3, 4, 5, 6, 7];
            let picked = picks.of(&mut numbers, 2);
            // SAFETY: each once.
            let parts = (0..picked.len()).map(|i| unsafe { picked.part(i) }.to_vec()).collect::<Vec<_>>();
            assert_eq!(parts, [vec![4, 5], vec![0, 1]]);
            picks.clear();
        }
    }
}
