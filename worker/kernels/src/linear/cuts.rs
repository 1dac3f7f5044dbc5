//! The tiles of several matrices as one phase.

use std::ops::Range;

use super::{Columns, OutView};
use crate::pack::{Layout, TILE};
use crate::pool::Split;

/// The most matrices of a phase: queries, keys and values.
pub const MATRICES: usize = 3;

/// Some tiles of a matrix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Which of the phase's matrices.
    pub matrix: usize,
    /// Its tiles.
    pub tiles: Range<usize>,
}

/// Matrices cut into runs of tiles.
///
/// Cuts of one matrix do not overlap: what threads do with them touches columns of
/// their own.
#[derive(Clone, Debug, Default)]
pub struct Cuts {
    cuts: Vec<Cut>,
}

impl Cuts {
    /// Cuts matrices into runs of about `bytes` bytes.
    ///
    /// # Panics
    /// There are more than [`MATRICES`].
    #[must_use]
    pub fn new(matrices: &[Layout], bytes: usize) -> Self {
        assert!(matrices.len() <= MATRICES, "{} matrices in a phase", matrices.len());
        let mut cuts = Vec::new();
        for (matrix, layout) in matrices.iter().enumerate() {
            let tiles = layout.tiles();
            let each = (bytes / layout.tile_bytes()).clamp(1, tiles);
            // Of equal lengths, up to one tile.
            let count = tiles.div_ceil(each);
            cuts.extend(
                (0..count).map(|i| Cut { matrix, tiles: i * tiles / count..(i + 1) * tiles / count }),
            );
        }
        Self { cuts }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cuts.len()
    }

    pub(super) fn get(&self, index: usize) -> &Cut {
        &self.cuts[index]
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }
}

/// A row-major matrix that a phase writes columns of.
#[derive(Debug)]
pub struct Target<'a>(pub(super) OutView<'a>);

impl<'a> Target<'a> {
    /// `rows` rows of `stride` numbers.
    ///
    /// # Panics
    /// There are fewer numbers.
    #[must_use]
    pub fn new(numbers: &'a mut [f32], rows: usize, stride: usize) -> Self {
        Self(OutView::new(numbers, rows, stride))
    }
}

/// The columns that belong to the tiles of [`Cuts`], of `N` targets a matrix.
#[derive(Debug)]
pub struct TileColumns<'a, const N: usize> {
    cuts: &'a Cuts,
    targets: [Option<[Target<'a>; N]>; MATRICES],
}

impl<'a, const N: usize> TileColumns<'a, N> {
    /// Pairs each matrix with its targets, in order.
    ///
    /// # Panics
    /// There are more than [`MATRICES`].
    #[must_use]
    pub fn new(cuts: &'a Cuts, targets: impl IntoIterator<Item = [Target<'a>; N]>) -> Self {
        let mut all = [const { None }; MATRICES];
        for (matrix, targets) in targets.into_iter().enumerate() {
            all[matrix] = Some(targets);
        }
        Self { cuts, targets: all }
    }
}

// SAFETY: cuts of one matrix have disjoint tiles, so disjoint columns; targets are
// exclusive borrows, so they do not overlap.
unsafe impl<'a, const N: usize> Split for TileColumns<'a, N> {
    type Part = (&'a Cut, [Columns<'a>; N]);

    fn len(&self) -> usize {
        self.cuts.len()
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        let cut = self.cuts.get(index);
        let Some(targets) = &self.targets[cut.matrix] else { panic!("matrix {} has no target", cut.matrix) };
        let columns = |target: &Target<'a>| {
            let end = (cut.tiles.end * TILE).min(target.0.stride());
            // SAFETY: nobody else has a part of this index, and other parts have
            // other columns or other targets.
            unsafe { target.0.columns(cut.tiles.start * TILE..end) }
        };
        (cut, targets.each_ref().map(columns))
    }
}

#[cfg(test)]
mod tests {
    use hearth_model::DType;

    use super::*;

    #[test]
    fn cuts_cover_every_tile_once() {
        let layouts = [(576, 576), (17, 576), (192, 64)].map(|(o, i)| Layout::of(DType::Q4_1, o, i).unwrap());
        for bytes in [0, 6000, 20_000, 1 << 30] {
            let cuts = Cuts::new(&layouts, bytes);
            for (matrix, layout) in layouts.iter().enumerate() {
                let own = cuts.cuts.iter().filter(|cut| cut.matrix == matrix);
                let mut next = 0;
                for cut in own {
                    assert_eq!(cut.tiles.start, next);
                    assert!(!cut.tiles.is_empty());
                    next = cut.tiles.end;
                }
                assert_eq!(next, layout.tiles());
            }
        }
    }

    #[test]
    fn columns_are_those_of_the_tiles() {
        let layouts = [40, 17].map(|outputs| Layout::of(DType::F32, outputs, 8).unwrap());
        let cuts = Cuts::new(&layouts, 0);
        let (mut a, mut b) = (vec![0.0; 2 * 40], vec![0.0; 2 * 17]);
        let targets = [[Target::new(&mut a, 2, 40)], [Target::new(&mut b, 2, 17)]];
        let parts = TileColumns::new(&cuts, targets);
        for i in 0..parts.len() {
            // SAFETY: each once.
            let (cut, [mut columns]) = unsafe { parts.part(i) };
            for row in 0..columns.rows() {
                let width = columns.width();
                for x in columns.part(row, 0, width) {
                    *x += (cut.tiles.start + 1) as f32;
                }
            }
        }
        assert!(a.iter().enumerate().all(|(i, x)| *x == (i % 40 / 16 + 1) as f32));
        assert!(b.iter().enumerate().all(|(i, x)| *x == (i % 17 / 16 + 1) as f32));
    }
}
