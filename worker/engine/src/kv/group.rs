//! The pages of one group that no sequence holds.

use std::collections::BTreeSet;

use hearth_program::{PageGroup, PageId};

use super::tree::NodeId;

/// What can be lent: pages that hold nothing, and pages of the prefix tree that can
/// be made to.
pub(super) struct Group {
    pub(super) layout: PageGroup,
    free: Vec<PageId>,
    /// Nodes whose page in this group nobody holds, the next to be evicted first.
    idle: BTreeSet<Idle>,
}

/// Since when nobody holds a node's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Idle {
    since: u64,
    /// Smaller is evicted first. Without a window the last pages of a sequence are,
    /// because those before them are of use without them; with a window the first,
    /// because the end of a text is what it is continued from.
    order: i64,
    node: NodeId,
}

impl Group {
    pub(super) fn new(layout: PageGroup) -> Self {
        // Lent from the low end first, so that little is touched where little is used.
        let free = (0..layout.pages).rev().filter_map(|page| u32::try_from(page).ok().map(PageId)).collect();
        Self { layout, free, idle: BTreeSet::new() }
    }

    /// Pages that can be lent.
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    pub(super) fn free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    pub(super) fn take_free(&mut self) -> Option<PageId> {
        self.free.pop()
    }

    pub(super) fn give(&mut self, page: PageId) {
        self.free.push(page);
    }

    /// The node whose page goes next.
    pub(super) fn next_idle(&self) -> Option<NodeId> {
        self.idle.first().map(|idle| idle.node)
    }

    /// Notes that nobody holds the page of `node`, which has `depth` ancestors.
    pub(super) fn rest(&mut self, node: NodeId, depth: usize, since: u64) -> Idle {
        let depth = i64::try_from(depth).unwrap_or(i64::MAX);
        let order = if self.layout.window.is_none() { -depth } else { depth };
        let idle = Idle { since, order, node };
        self.idle.insert(idle);
        idle
    }

    /// Notes that the page is held again, or evicted.
    pub(super) fn wake(&mut self, idle: Idle) {
        self.idle.remove(&idle);
    }
}
