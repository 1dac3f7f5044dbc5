//! The pages of a program, and who may have them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_program::{PAGE_TOKENS, PageId, PageLayout};
use thiserror::Error;

use super::group::Group;
use super::table::Table;
use super::tree::{NodeId, Parent, Place, Run, Tree};

/// Lends the pages of a program to sequences. Clones lend the same pages.
#[derive(Clone)]
pub(crate) struct Pool {
    pages: Arc<Mutex<Pages>>,
}

/// There are not enough pages.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{wanted} pages are wanted and {available} can be had")]
pub(crate) struct Full {
    /// Pages wanted of a group.
    pub(crate) wanted: usize,
    /// Pages that are free or can be evicted.
    pub(crate) available: usize,
}

impl Pool {
    /// A pool of all pages of a layout.
    pub(crate) fn new(layout: &PageLayout) -> Self {
        Self { pages: Arc::new(Mutex::new(Pages::new(layout))) }
    }

    /// The table of a sequence that begins with `tokens`: as much of them as the pool
    /// still holds, up to `most` tokens. Only sequences of the same `salt` share.
    pub(crate) fn begin(&self, salt: &Arc<str>, tokens: &[u32], most: usize) -> Table {
        Table::begin(self.clone(), Arc::clone(salt), tokens, most)
    }

    /// Pages that can be lent, a number a group.
    pub(crate) fn available(&self) -> Vec<usize> {
        self.lock().groups.iter().map(Group::available).collect()
    }

    /// Counts when pages were given back: as long as it does not change, there are no
    /// more of them than before.
    pub(crate) fn releases(&self) -> u64 {
        self.lock().now
    }

    /// What the pages are used for, a group each.
    pub(crate) fn occupancy(&self) -> Vec<crate::Pages> {
        let occupancy = |group: &Group| crate::Pages {
            total: group.layout.pages,
            free: group.free(),
            cached: group.idle(),
        };
        self.lock().groups.iter().map(occupancy).collect()
    }

    /// Forgets every text that nobody is at.
    #[cfg(test)]
    pub(crate) fn forget(&self) {
        let mut pages = self.lock();
        for group in 0..pages.groups.len() {
            while pages.evict(group).is_some() {}
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Pages> {
        // A panic between two writes would have to come from the tree's own
        // invariants, after which the device thread ends anyway.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nodes for each page that there is, at the most. Where every group has a window,
/// nodes outlive their pages as the way to their descendants.
const NODES_A_PAGE: usize = 8;

/// What tables and pool share.
pub(super) struct Pages {
    pub(super) groups: Vec<Group>,
    tree: Tree,
    /// Counts releases: what was released later is evicted later.
    now: u64,
    most_nodes: usize,
}

impl Pages {
    fn new(layout: &PageLayout) -> Self {
        let groups = layout.groups.iter().cloned().map(Group::new).collect::<Vec<_>>();
        let pages = layout.groups.iter().map(|group| group.pages).fold(0, usize::saturating_add);
        let most_nodes = pages.saturating_mul(NODES_A_PAGE);
        Self { groups, tree: Tree::default(), now: 0, most_nodes }
    }

    /// Lends a page that nothing is in.
    pub(super) fn take(&mut self, group: usize) -> Option<PageId> {
        self.groups[group].take_free().or_else(|| {
            self.evict(group)?;
            self.groups[group].take_free()
        })
    }

    /// Takes back a page that is in no tree.
    pub(super) fn give(&mut self, group: usize, page: PageId) {
        self.groups[group].give(page);
    }

    /// Frees the page of the group that is the last to be of use; it is `None` if
    /// all are held.
    fn evict(&mut self, group: usize) -> Option<()> {
        let id = self.groups[group].next_idle()?;
        if self.groups[group].layout.window.is_none() {
            // Nobody finds what is behind this page, so all of the node goes. Its
            // descendants were used no later than itself, and have gone before.
            for group in 0..self.groups.len() {
                self.vacate(group, id);
            }
        } else {
            self.vacate(group, id);
        }
        self.tree.prune(id);
        Some(())
    }

    /// Frees a node's page that nobody holds.
    fn vacate(&mut self, group: usize, id: NodeId) {
        let place = &mut self.tree.node_mut(id).places[group];
        if let Some(idle) = place.idle.take() {
            self.groups[group].wake(idle);
            self.groups[group].give(place.page);
            place.page = PageId::NONE;
        }
    }

    /// Counts one more holder of a node's page, and says which page it is.
    fn hold(&mut self, group: usize, id: NodeId) -> PageId {
        let place = &mut self.tree.node_mut(id).places[group];
        if let Some(idle) = place.idle.take() {
            self.groups[group].wake(idle);
        }
        place.holders += 1;
        place.page
    }

    /// Counts one holder of a node's page less.
    pub(super) fn let_go(&mut self, group: usize, id: NodeId) {
        let node = self.tree.node_mut(id);
        let place = &mut node.places[group];
        place.holders -= 1;
        if place.holders == 0 {
            place.idle = Some(self.groups[group].rest(id, node.depth, self.now));
        }
    }

    /// Counts a sequence less that begins with these nodes, of which it holds no
    /// page any more.
    pub(super) fn leave(&mut self, chain: &[NodeId]) {
        for id in chain.iter().rev() {
            self.tree.node_mut(*id).holders -= 1;
            self.tree.prune(*id);
        }
    }

    /// Begins a release.
    pub(super) fn tick(&mut self) {
        self.now += 1;
    }

    /// The longest beginning of `tokens` that is there, and that a sequence can go on
    /// from: the pages that its end sees are there in every group.
    pub(super) fn longest(&self, salt: &Arc<str>, tokens: &[u32]) -> Vec<NodeId> {
        let mut chain = Vec::new();
        let mut parent = Parent::Root(Arc::clone(salt));
        // How many pages up to the end of the chain are there, in every group.
        let mut there = vec![0usize; self.groups.len()];
        let mut good = 0;
        let (runs, _) = tokens.as_chunks::<PAGE_TOKENS>();
        for run in runs {
            let Some(id) = self.tree.find(parent, *run) else { break };
            parent = Parent::Node(id);
            chain.push(id);
            for (place, there) in self.tree.node(id).places.iter().zip(&mut there) {
                *there = if place.page == PageId::NONE { 0 } else { *there + 1 };
            }
            let end = chain.len();
            let sees = |group: &Group| end - group.layout.first_page(end * PAGE_TOKENS).min(end);
            if self.groups.iter().zip(&there).all(|(group, there)| *there >= sees(group)) {
                good = end;
            }
        }
        chain.truncate(good);
        chain
    }

    /// Counts one more sequence that begins with a node.
    pub(super) fn enter(&mut self, id: NodeId) {
        self.tree.node_mut(id).holders += 1;
    }

    /// Holds the pages `from..` of a chain.
    pub(super) fn hold_all(&mut self, group: usize, chain: &[NodeId], from: usize) -> Vec<PageId> {
        let gone = std::iter::repeat_n(PageId::NONE, from.min(chain.len()));
        gone.chain(chain.iter().skip(from).map(|id| self.hold(group, *id))).collect()
    }

    /// Makes a sequence's next pages part of the tree, unless the tree is full. Where
    /// the same text is there already, the sequence gets its pages instead of its own.
    pub(super) fn share(
        &mut self,
        salt: &Arc<str>,
        parent: Option<NodeId>,
        run: Run,
        pages: &mut [&mut PageId],
    ) -> Option<NodeId> {
        let parent = parent.map_or_else(|| Parent::Root(Arc::clone(salt)), Parent::Node);
        let found = self.tree.find(parent.clone(), run);
        let id = match found {
            Some(id) => id,
            None => {
                self.make_room_for_a_node();
                if self.tree.len() >= self.most_nodes {
                    return None;
                }
                self.tree.add(parent, run, self.groups.len())
            }
        };
        self.enter(id);
        for (group, page) in pages.iter_mut().enumerate() {
            if **page == PageId::NONE {
                // It has slid out already.
                continue;
            }
            let place = &mut self.tree.node_mut(id).places[group];
            if place.page == PageId::NONE {
                *place = Place { page: **page, holders: 1, idle: None };
            } else {
                let own = std::mem::replace(*page, self.hold(group, id));
                self.give(group, own);
                self.tick();
            }
        }
        Some(id)
    }

    fn make_room_for_a_node(&mut self) {
        for group in 0..self.groups.len() {
            while self.tree.len() >= self.most_nodes && self.evict(group).is_some() {}
        }
    }

    #[cfg(test)]
    pub(super) fn nodes(&self) -> usize {
        self.tree.len()
    }
}
