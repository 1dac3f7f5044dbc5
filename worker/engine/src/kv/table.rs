//! The pages of one sequence.

use std::sync::Arc;

use hearth_program::{PAGE_TOKENS, PageId};

use super::group::Group;
use super::pool::{Full, Pool};
use super::tree::NodeId;

/// The pages of one sequence. They come back on Drop: those that hold a text which
/// others may begin with stay for them, for as long as there is room.
pub(crate) struct Table {
    pool: Pool,
    salt: Arc<str>,
    /// A table a group, all of one length.
    pages: Vec<Vec<PageId>>,
    /// How many entries of each table have slid out of the group's window.
    gone: Vec<usize>,
    /// The nodes whose pages the first entries are.
    chain: Vec<NodeId>,
}

impl Table {
    pub(super) fn begin(pool: Pool, salt: Arc<str>, tokens: &[u32], most: usize) -> Self {
        let mut lent = pool.lock();
        let chain = lent.longest(&salt, &tokens[..most.min(tokens.len())]);
        for id in &chain {
            lent.enter(*id);
        }
        let end = chain.len() * PAGE_TOKENS;
        let first = |group: usize| lent.groups[group].layout.first_page(end).min(chain.len());
        let gone = (0..lent.groups.len()).map(first).collect::<Vec<_>>();
        let pages = gone.iter().enumerate();
        let pages = pages.map(|(group, from)| lent.hold_all(group, &chain, *from)).collect();
        drop(lent);
        Self { pool, salt, pages, gone, chain }
    }

    /// A table a group, as [`Row::tables`](hearth_program::Row::tables) wants them.
    pub(crate) fn tables(&self) -> &[Vec<PageId>] {
        &self.pages
    }

    /// Tokens whose keys and values the shared pages at its beginning hold.
    pub(crate) fn shared_tokens(&self) -> usize {
        self.chain.len() * PAGE_TOKENS
    }

    /// Gives pages back that no position from `position` on sees.
    pub(crate) fn slide(&mut self, position: usize) {
        let mut lent = self.pool.lock();
        let mut ticked = false;
        for (group, table) in self.pages.iter_mut().enumerate() {
            let first = lent.groups[group].layout.first_page(position).min(table.len());
            for (at, page) in table.iter_mut().enumerate().take(first).skip(self.gone[group]) {
                if !std::mem::replace(&mut ticked, true) {
                    lent.tick();
                }
                let page = std::mem::replace(page, PageId::NONE);
                match self.chain.get(at) {
                    Some(node) => lent.let_go(group, *node),
                    None => lent.give(group, page),
                }
            }
            self.gone[group] = self.gone[group].max(first);
        }
    }

    /// Takes pages for all positions before `end`.
    ///
    /// # Errors
    /// There are too few in some group. Nothing was taken.
    pub(crate) fn reserve(&mut self, end: usize) -> Result<(), Full> {
        let len = self.pages.first().map_or(0, Vec::len);
        let Some(wanted) = end.div_ceil(PAGE_TOKENS).checked_sub(len).filter(|wanted| *wanted > 0) else {
            return Ok(());
        };
        let mut lent = self.pool.lock();
        let least = lent.groups.iter().map(Group::available).min().unwrap_or(0);
        if least < wanted {
            return Err(Full { wanted, available: least });
        }
        for (group, table) in self.pages.iter_mut().enumerate() {
            for _ in 0..wanted {
                // As many as that are available, and taking from one group only adds
                // to what is available in others.
                table.extend(lent.take(group));
            }
        }
        Ok(())
    }

    /// Pages of every group that it has still to take until it holds `end` positions,
    /// if what slides out is given back on the way.
    pub(crate) fn wants(&self, end: usize) -> Vec<usize> {
        let lent = self.pool.lock();
        let groups = lent.groups.iter().zip(self.pages.iter().zip(&self.gone));
        groups
            .map(|(group, (table, gone))| group.layout.most(end).saturating_sub(table.len() - gone))
            .collect()
    }

    /// Lets others begin with the pages that `tokens` fill, which is what the first
    /// positions hold. From then on they are not to be written.
    pub(crate) fn share(&mut self, tokens: &[u32]) {
        let (runs, _) = tokens.as_chunks::<PAGE_TOKENS>();
        let Some(new) = runs.get(self.chain.len()..) else { return };
        if new.is_empty() {
            return;
        }
        let mut lent = self.pool.lock();
        for run in new {
            let at = self.chain.len();
            let entries = self.pages.iter_mut().map(|table| table.get_mut(at));
            let Some(mut entries) = entries.collect::<Option<Vec<_>>>() else { return };
            let parent = self.chain.last().copied();
            let Some(id) = lent.share(&self.salt, parent, *run, &mut entries) else { return };
            self.chain.push(id);
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let mut lent = self.pool.lock();
        lent.tick();
        for (group, table) in self.pages.iter().enumerate() {
            for (at, page) in table.iter().enumerate().skip(self.gone[group]) {
                match self.chain.get(at) {
                    Some(node) => lent.let_go(group, *node),
                    None => lent.give(group, *page),
                }
            }
        }
        lent.leave(&self.chain);
    }
}
