//! Where keys and values lie: in pages, which tables give to sequences.

use hearth_model::Shape;

use crate::step::{PREFILL_CHUNK, Row, StepError};

/// Tokens a page. It divides [`PREFILL_CHUNK`], so that prompts fill pages.
pub const PAGE_TOKENS: usize = 32;

const _: () = assert!(PREFILL_CHUNK.is_multiple_of(PAGE_TOKENS));

/// A page of one group: room for the keys and values of [`PAGE_TOKENS`] consecutive
/// positions in all layers of the group. Groups count their pages from 0 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(pub u32);

impl PageId {
    /// Stands in a table where a page has been given back.
    pub const NONE: Self = Self(u32::MAX);

    /// The index of the page in its group, unless it is [`PageId::NONE`].
    #[must_use]
    pub fn index(self) -> Option<usize> {
        (self != Self::NONE).then_some(self.0 as usize)
    }
}

/// The pages of a program. There is at least one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageLayout {
    /// Layers that look equally far back share a group, and with it a page table.
    pub groups: Vec<PageGroup>,
}

/// Layers whose keys and values live equally long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageGroup {
    /// A position sees itself and the `window - 1` positions before it; without a
    /// window all before it.
    pub window: Option<usize>,
    /// The layers, rising.
    pub layers: Vec<usize>,
    /// How many pages there are.
    pub pages: usize,
}

impl PageLayout {
    /// The layout of a model whose layers have these windows, in the order of layers,
    /// with pages for all of `shape`'s sequences at their longest. Groups are in the
    /// order of their first layers.
    #[must_use]
    pub fn new(windows: impl IntoIterator<Item = Option<usize>>, shape: &Shape) -> Self {
        let (context, sequences) = (shape.context_tokens as usize, shape.sequences as usize);
        let mut groups: Vec<PageGroup> = Vec::new();
        for (layer, window) in windows.into_iter().enumerate() {
            match groups.iter_mut().find(|group| group.window == window) {
                Some(group) => group.layers.push(layer),
                None => {
                    let pages = sequences.saturating_mul(most(window, context));
                    groups.push(PageGroup { window, layers: vec![layer], pages });
                }
            }
        }
        Self { groups }
    }

    /// Looks whether a row can be computed: whether it has a table a group, which
    /// name a page that exists for every position that is read or written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, row: &Row<'_>) -> Result<(), StepError> {
        let refuse = |message: String| Err(StepError { message });
        if row.tokens.is_empty() {
            return refuse("a row has no tokens".into());
        }
        if row.tables.len() != self.groups.len() {
            return refuse(format!("a row has {} tables for {} groups", row.tables.len(), self.groups.len()));
        }
        let end = row.start.saturating_add(row.tokens.len());
        for (group, table) in self.groups.iter().zip(row.tables) {
            let (first, last) = (group.first_page(row.start), end.div_ceil(PAGE_TOKENS));
            let Some(used) = table.get(first..last) else {
                return refuse(format!("a row ends at {end} and a table of it has {} pages", table.len()));
            };
            if let Some(page) = used.iter().find(|page| page.index().is_none_or(|at| at >= group.pages)) {
                return refuse(format!("a row names page {} of {}", page.0, group.pages));
            }
        }
        Ok(())
    }
}

impl PageGroup {
    /// The first position that `position` sees.
    #[must_use]
    pub fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// The first entry of a table that a row which starts at `position` reads or
    /// writes. Those before it may be [`PageId::NONE`].
    #[must_use]
    pub fn first_page(&self, position: usize) -> usize {
        self.first_seen(position) / PAGE_TOKENS
    }

    /// Pages that a sequence of `tokens` tokens holds at a time, at the most.
    #[must_use]
    pub fn most(&self, tokens: usize) -> usize {
        most(self.window, tokens)
    }
}

/// What the window and the piece under way touch, wherever in a page they begin.
fn most(window: Option<usize>, tokens: usize) -> usize {
    let whole = tokens.div_ceil(PAGE_TOKENS);
    window.map_or(whole, |window| {
        let touched = (window.saturating_sub(1).saturating_add(PREFILL_CHUNK)).div_ceil(PAGE_TOKENS);
        touched.saturating_add(1).min(whole)
    })
}

#[cfg(test)]
mod tests {
    use hearth_model::{KvType, Shape};

    use super::{PAGE_TOKENS, PageId, PageLayout};
    use crate::step::{PREFILL_CHUNK, Row, Stage};

    fn shape(context_tokens: u32, sequences: u32) -> Shape {
        Shape { context_tokens, sequences, kv_type: KvType::F16 }
    }

    #[test]
    fn layers_of_a_window_share_a_group() {
        let windows = [Some(64), Some(64), None, Some(64)];
        let layout = PageLayout::new(windows, &shape(1000, 3));
        let groups = layout.groups.iter().map(|g| (g.window, g.layers.as_slice(), g.pages));
        let sliding = 3 * ((63 + PREFILL_CHUNK).div_ceil(PAGE_TOKENS) + 1);
        let expected: [(_, &[usize], _); 2] = [(Some(64), &[0, 1, 3], sliding), (None, &[2], 3 * 32)];
        assert_eq!(groups.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_window_takes_no_more_pages_than_the_context() {
        let layout = PageLayout::new([Some(4096), None], &shape(64, 2));
        assert!(layout.groups.iter().all(|group| group.pages == 4));
    }

    #[test]
    fn pages_that_no_position_of_a_row_sees_may_be_gone() {
        let layout = PageLayout::new([Some(33)], &shape(1 << 12, 1));
        let group = &layout.groups[0];
        assert_eq!(group.first_page(31), 0);
        // Position 63 sees 31 and what follows, 64 begins at 32.
        assert_eq!((group.first_page(63), group.first_page(64)), (0, 1));
        let (none, there) = (PageId::NONE, PageId(0));
        let refused = |table: &[PageId], start, len: usize| {
            let (tables, tokens) = ([table.to_vec()], vec![0; len]);
            let row = Row { tables: &tables, start, tokens: &tokens, stage: Stage::Decode };
            layout.check(&row).is_err()
        };
        assert!(!refused(&[none, there, there], 64, 1));
        assert!(refused(&[none, there, there], 63, 1), "a position is gone that is seen");
        assert!(refused(&[none, there, none], 64, 1), "nothing to write to");
        assert!(refused(&[there; 2], 64, 1), "the table is too short");
        assert!(refused(&[there, PageId(group.pages as u32)], 32, 1), "there is no such page");
        assert!(refused(&[there], 0, 0), "nothing to do");
        let row = Row { tables: &[], start: 0, tokens: &[1], stage: Stage::Decode };
        assert!(layout.check(&row).is_err(), "no table for a group");
    }
}
