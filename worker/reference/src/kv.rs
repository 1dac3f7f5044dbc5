//! Keys and values, in pages that rows name.
//!
//! A page of a group holds the keys and values of [`PAGE_TOKENS`] tokens in all of
//! the group's layers. All pages are there from the start. What a page holds is as
//! the replica was asked to keep it, and is widened to `f32` when it is read.

mod store;

use std::sync::{PoisonError, RwLock};

use burn::tensor::{Device, Tensor};

use hearth_program::arch::Attention;
use hearth_program::{PAGE_TOKENS, PageId, PageLayout};

pub use store::KvStorage;
use store::Page;

/// The pages of a model.
pub(crate) struct Kv {
    layout: PageLayout,
    /// Group and place in the group, a layer each.
    places: Vec<(usize, usize)>,
    /// Rows of a step run side by side and share what they have in common. They
    /// write only what is theirs alone, so nobody waits for long.
    groups: Vec<Vec<RwLock<Pair>>>,
    kv_heads: usize,
}

/// Keys and values of some tokens in all layers of a group,
/// `[layers · kv_heads, PAGE_TOKENS, dim]` each.
struct Pair {
    keys: Page,
    values: Page,
}

/// What a row reads of a layer.
pub(crate) struct Read {
    /// `[kv_heads, tokens, key_dim]`.
    pub(crate) keys: Tensor<3>,
    /// `[kv_heads, tokens, value_dim]`.
    pub(crate) values: Tensor<3>,
    /// Position of the first of the tokens: at or before the first that the row sees.
    pub(crate) first: usize,
}

impl Kv {
    pub(crate) fn new(
        layout: PageLayout,
        attention: &Attention,
        storage: KvStorage,
        device: &Device,
    ) -> Self {
        let Attention { kv_heads, key_dim, value_dim, .. } = *attention;
        let layers = layout.groups.iter().map(|group| group.layers.len()).sum();
        let mut places = vec![(0, 0); layers];
        for (group, layers) in layout.groups.iter().map(|group| &group.layers).enumerate() {
            for (place, layer) in layers.iter().enumerate() {
                places[*layer] = (group, place);
            }
        }
        let page = |layers: usize, dim| Page::new(storage, [layers * kv_heads, PAGE_TOKENS, dim], device);
        let pair =
            |layers| RwLock::new(Pair { keys: page(layers, key_dim), values: page(layers, value_dim) });
        let groups = layout.groups.iter();
        let groups = groups.map(|group| (0..group.pages).map(|_| pair(group.layers.len())).collect());
        Self { groups: groups.collect(), places, layout, kv_heads }
    }

    pub(crate) fn layout(&self) -> &PageLayout {
        &self.layout
    }

    /// Bytes of all pages.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = |page: &RwLock<Pair>| {
            let page = page.read().unwrap_or_else(PoisonError::into_inner);
            page.keys.bytes() + page.values.bytes()
        };
        self.groups.iter().flatten().map(bytes).sum()
    }

    /// Writes `[kv_heads, rows, dim]` each from position `start` on.
    ///
    /// # Panics
    /// The tables were not [checked](PageLayout::check).
    pub(crate) fn write(
        &self,
        layer: usize,
        tables: &[Vec<PageId>],
        start: usize,
        keys: &Tensor<3>,
        values: &Tensor<3>,
    ) {
        let (group, place) = self.places[layer];
        let first_head = place * self.kv_heads;
        let rows = keys.dims()[1];
        let mut done = 0;
        while done < rows {
            let (at, in_page) = ((start + done) / PAGE_TOKENS, (start + done) % PAGE_TOKENS);
            let fits = (PAGE_TOKENS - in_page).min(rows - done);
            let part = |new: &Tensor<3>| {
                let [heads, _, dim] = new.dims();
                new.clone().slice([0..heads, done..done + fits, 0..dim])
            };
            let page = self.page(group, tables[group][at]);
            let mut page = page.write().unwrap_or_else(PoisonError::into_inner);
            page.keys.write(first_head, in_page, part(keys));
            page.values.write(first_head, in_page, part(values));
            done += fits;
        }
    }

    /// Reads what a row from `start` to `end` sees of a layer.
    ///
    /// # Panics
    /// The tables were not [checked](PageLayout::check).
    pub(crate) fn read(&self, layer: usize, tables: &[Vec<PageId>], start: usize, end: usize) -> Read {
        let (group, place) = self.places[layer];
        let heads = place * self.kv_heads..(place + 1) * self.kv_heads;
        let first_page = self.layout.groups[group].first_page(start);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (at, id) in tables[group].iter().enumerate().take(end.div_ceil(PAGE_TOKENS)).skip(first_page) {
            let filled = (end - at * PAGE_TOKENS).min(PAGE_TOKENS);
            let page = self.page(group, *id).read().unwrap_or_else(PoisonError::into_inner);
            keys.push(page.keys.read(heads.clone(), filled));
            values.push(page.values.read(heads.clone(), filled));
        }
        Read { keys: Tensor::cat(keys, 1), values: Tensor::cat(values, 1), first: first_page * PAGE_TOKENS }
    }

    fn page(&self, group: usize, id: PageId) -> &RwLock<Pair> {
        &self.groups[group][id.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};
    use hearth_model::{KvType, Shape};
    use hearth_program::arch::{Attention, Sight};
    use hearth_program::{PAGE_TOKENS, PageId, PageLayout};

    use super::{Kv, KvStorage};

    const ATTENTION: Attention = Attention {
        heads: 2,
        kv_heads: 2,
        key_dim: 40,
        value_dim: 32,
        scale: 1.0,
        soft_cap: None,
        sight: Sight::Past { window: None },
    };

    fn kv(windows: &[Option<usize>], storage: KvStorage) -> Kv {
        let shape = Shape { context_tokens: 8 * PAGE_TOKENS as u32, sequences: 1, kv_type: KvType::F16 };
        Kv::new(PageLayout::new(windows.iter().copied(), &shape), &ATTENTION, storage, &Device::flex())
    }

    fn random(rows: usize, dim: usize) -> Tensor<3> {
        Tensor::random([2, rows, dim], Distribution::Uniform(-1.0, 1.0), &Device::flex())
    }

    fn largest_difference(a: Tensor<3>, b: Tensor<3>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    fn table(pages: &[u32]) -> Vec<PageId> {
        pages.iter().map(|page| PageId(*page)).collect()
    }

    #[test]
    fn what_is_written_in_pieces_is_read_as_a_whole() {
        // Half precision keeps 11 bits; 8-bit blocks keep 1/127 of the largest, halved.
        let kinds = [
            (KvStorage::Exact, 0.0),
            (KvStorage::Kept(KvType::F16), 1.0 / 2048.0),
            (KvStorage::Kept(KvType::Q8_0), 1.01 / 254.0),
        ];
        for (storage, error) in kinds {
            let kv = kv(&[None, None], storage);
            // In no order, and with pages of a neighbour between.
            let (mine, other) = ([table(&[6, 1, 4, 2, 0])], [table(&[3, 5])]);
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            let mut start = 0;
            for rows in [PAGE_TOKENS - 1, 1, 1, 2 * PAGE_TOKENS + 3, 5] {
                let (k, v) = (random(rows, 40), random(rows, 32));
                kv.write(1, &mine, start, &k, &v);
                kv.write(0, &mine, start, &random(rows, 40), &random(rows, 32));
                kv.write(1, &other, start.min(PAGE_TOKENS), &random(2, 40), &random(2, 32));
                start += rows;
                keys.push(k);
                values.push(v);
            }
            let read = kv.read(1, &mine, start - 5, start);
            assert_eq!((read.keys.dims(), read.first), ([2, start, 40], 0));
            assert!(largest_difference(read.keys, Tensor::cat(keys, 1)) <= error);
            assert!(largest_difference(read.values, Tensor::cat(values, 1)) <= error);
        }
    }

    #[test]
    fn a_window_is_read_from_the_page_where_it_begins() {
        let kv = kv(&[None, Some(PAGE_TOKENS + 1)], KvStorage::Exact);
        let tables = [table(&[0, 1, 2]), table(&[3, 0, 1])];
        let (k, v) = (random(3 * PAGE_TOKENS, 40), random(3 * PAGE_TOKENS, 32));
        kv.write(1, &tables, 0, &k, &v);
        let gone = [table(&[0, 1, 2]), vec![PageId::NONE, PageId(0), PageId(1)]];
        let (start, end) = (2 * PAGE_TOKENS, 2 * PAGE_TOKENS + 3);
        let read = kv.read(1, &gone, start, end);
        assert_eq!(read.first, PAGE_TOKENS);
        let expected = k.slice([0..2, PAGE_TOKENS..end, 0..40]);
        assert_eq!(largest_difference(read.keys, expected), 0.0);
    }

    #[test]
    fn pages_take_what_their_numbers_take() {
        for kv_type in [KvType::F16, KvType::Q8_0] {
            let kv = kv(&[None, None, None], KvStorage::Kept(kv_type));
            let a_token = 3 * 2 * (kv_type.bytes(40) + kv_type.bytes(32));
            assert_eq!(kv.bytes(), 8 * PAGE_TOKENS as u64 * a_token);
        }
    }
}
