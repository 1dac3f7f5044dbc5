//! The pages of a place in the batch, the same for every sequence that takes it.

use std::sync::{Arc, Mutex, PoisonError};

use hearth_program::{PAGE_TOKENS, PageId, PageLayout};

/// Places that are free, with their page tables.
pub(super) struct Slots {
    free: Arc<Mutex<Vec<Tables>>>,
}

type Tables = Vec<Vec<PageId>>;

/// A place. It comes back on Drop.
pub(super) struct Slot {
    tables: Tables,
    free: Arc<Mutex<Vec<Tables>>>,
}

impl Slots {
    pub(super) fn new(layout: &PageLayout, places: usize, context: usize) -> Self {
        let table = |pages: usize, place: usize| {
            // Behind a window the pages come round again.
            let of_a_place = (pages / places).max(1);
            let page = |at: usize| place * of_a_place + at % of_a_place;
            (0..context.div_ceil(PAGE_TOKENS)).map(|at| PageId(page(at) as u32)).collect::<Vec<_>>()
        };
        let tables = |place| layout.groups.iter().map(|group| table(group.pages, place)).collect();
        Self { free: Arc::new(Mutex::new((0..places).rev().map(tables).collect())) }
    }

    /// # Panics
    /// More are taken than there are places.
    pub(super) fn take(&self) -> Slot {
        let tables = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Slot { tables: tables.expect("as many run as there are places"), free: Arc::clone(&self.free) }
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Slot {
    pub(super) fn tables(&self) -> &[Vec<PageId>] {
        &self.tables
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let tables = std::mem::take(&mut self.tables);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(tables);
    }
}
