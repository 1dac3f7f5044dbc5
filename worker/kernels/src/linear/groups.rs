//! Groups of rows, each of which meets a matrix of its own.

use super::{Columns, Cut, Cuts, Quantized, QuantizedRows, Target};
use crate::linear::activations::PANEL;
use crate::pack::TILE;
use crate::pool::Split;

/// Neighbouring rows that meet the same matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Which of some matrices of one outline.
    pub matrix: usize,
    /// The first row: it begins a panel of quantized rows.
    pub first: usize,
    /// Rows; at least one.
    pub rows: usize,
}

impl Group {
    /// Its rows of quantized ones.
    ///
    /// # Panics
    /// They are not among them.
    #[must_use]
    pub fn of<'a>(&self, rows: &'a Quantized) -> QuantizedRows<'a> {
        rows.rows_from(self.first, self.rows)
    }
}

/// Groups of rows, one after another: they have no row in common.
#[derive(Clone, Debug, Default)]
pub struct Groups {
    groups: Vec<Group>,
    /// Rows up to the end of the last, with those that fill its panel up.
    end: usize,
}

impl Groups {
    /// No groups, and space for so many.
    #[must_use]
    pub fn with_capacity(groups: usize) -> Self {
        Self { groups: Vec::with_capacity(groups), end: 0 }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.groups.clear();
        self.end = 0;
    }

    /// Appends a group of `rows` rows, and gives its first.
    ///
    /// # Panics
    /// It has no rows.
    pub fn push(&mut self, matrix: usize, rows: usize) -> usize {
        assert!(rows > 0, "a group without rows");
        let first = self.end;
        self.groups.push(Group { matrix, first, rows });
        self.end = first + rows.next_multiple_of(PANEL);
        first
    }

    /// The groups.
    pub fn iter(&self) -> impl Iterator<Item = Group> {
        self.groups.iter().copied()
    }

    /// Rows of all groups, with those between them that belong to none.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.end
    }

    /// The most rows that `rows` rows of up to `groups` groups become.
    #[must_use]
    pub fn most_rows(rows: usize, groups: usize) -> usize {
        rows.saturating_add(groups.min(rows).saturating_mul(PANEL - 1))
    }
}

/// What groups write to with the tiles of a matrix each: the columns that belong to
/// [`Cuts`] of their outline, of the groups' rows of `N` targets. Groups come one after
/// another, so that a matrix is read once.
#[derive(Debug)]
pub struct GroupColumns<'a, const N: usize> {
    groups: &'a Groups,
    cuts: &'a Cuts,
    targets: [Target<'a>; N],
}

impl<'a, const N: usize> GroupColumns<'a, N> {
    /// Pairs groups with what they write to.
    ///
    /// # Panics
    /// The cuts are of several matrices.
    #[must_use]
    pub fn new(groups: &'a Groups, cuts: &'a Cuts, targets: [Target<'a>; N]) -> Self {
        assert!((0..cuts.len()).all(|cut| cuts.get(cut).matrix == 0), "cuts of one outline");
        Self { groups, cuts, targets }
    }
}

// SAFETY: groups have no row in common: each begins where the one before has ended. Cuts
// of one matrix have disjoint tiles, so disjoint columns. So parts have either other rows
// or other columns; targets are exclusive borrows.
unsafe impl<'a, const N: usize> Split for GroupColumns<'a, N> {
    type Part = (Group, &'a Cut, [Columns<'a>; N]);

    fn len(&self) -> usize {
        self.groups.groups.len() * self.cuts.len()
    }

    unsafe fn part(&self, index: usize) -> Self::Part {
        let group = self.groups.groups[index / self.cuts.len()];
        let cut = self.cuts.get(index % self.cuts.len());
        let columns = |target: &Target<'a>| {
            let end = (cut.tiles.end * TILE).min(target.0.stride());
            // SAFETY: nobody else has a part of this index, and other parts have other
            // rows, other columns or other targets.
            unsafe { target.0.only(group.first, group.rows).columns(cut.tiles.start * TILE..end) }
        };
        (group, cut, self.targets.each_ref().map(columns))
    }
}

#[cfg(test)]
mod tests {
    use hearth_model::DType;

    use super::*;
    use crate::pack::Layout;

    #[test]
    fn parts_cover_the_groups_rows_once() {
        let cuts = Cuts::new(&[Layout::of(DType::F32, 40, 8).unwrap()], 0);
        let mut groups = Groups::with_capacity(3);
        assert_eq!([(7, 5), (2, 1), (9, 4)].map(|(matrix, rows)| groups.push(matrix, rows)), [0, 8, 12]);
        assert_eq!((groups.rows(), Groups::most_rows(10, 3)), (16, 19));
        let mut numbers = vec![0.0; 16 * 40];
        let parts = GroupColumns::new(&groups, &cuts, [Target::new(&mut numbers, 16, 40)]);
        assert_eq!(parts.len(), 9);
        for i in 0..parts.len() {
            // SAFETY: each once.
            let (group, cut, [mut columns]) = unsafe { parts.part(i) };
            assert_eq!((columns.rows(), group.matrix), [(5, 7), (1, 2), (4, 9)][i / 3]);
            let width = columns.width();
            for row in 0..columns.rows() {
                columns.part(row, 0, width).iter_mut().for_each(|x| *x += (cut.tiles.start + 1) as f32);
            }
        }
        for (row, numbers) in numbers.chunks_exact(40).enumerate() {
            let owned = matches!(row, 0..5 | 8 | 12..16);
            let expected = |column: usize| if owned { (column / 16 + 1) as f32 } else { 0.0 };
            assert!(numbers.iter().enumerate().all(|(column, x)| *x == expected(column)), "row {row}");
        }
        groups.clear();
        assert_eq!(groups.push(0, 2), 0);
    }
}
