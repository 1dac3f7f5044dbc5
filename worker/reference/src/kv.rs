//! Keys and values of a sequence.
//!
//! They lie in pages of [`PAGE_TOKENS`] tokens a layer. A page is made when its
//! first token comes, and goes with its cache; appending touches the last page
//! only, so that a token costs the same wherever it comes. What a page holds is
//! as the replica was asked to keep it, and is widened to `f32` when it is read.

mod store;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use burn::tensor::{Device, Tensor};

use hearth_program::arch::Graph;

pub use store::KvStorage;
use store::Page;

/// Tokens a page; divides the prefill chunk, so that prompts fill pages.
pub(crate) const PAGE_TOKENS: usize = 64;

/// How the caches of a model are laid out, and how much they hold.
pub(crate) struct KvLayout {
    kv_heads: usize,
    key_dim: usize,
    value_dim: usize,
    storage: KvStorage,
    layers: usize,
    device: Device,
    /// Bytes of all pages that are there.
    live: AtomicU64,
}

impl KvLayout {
    pub(crate) fn new(graph: &Graph, storage: KvStorage, device: Device) -> Self {
        let attention = &graph.attention;
        Self {
            kv_heads: attention.kv_heads,
            key_dim: attention.key_dim,
            value_dim: attention.value_dim,
            storage,
            layers: graph.layers.len(),
            device,
            live: AtomicU64::new(0),
        }
    }

    /// Bytes of the pages of all layers that `tokens` of one sequence take,
    /// counted from a page as it is made.
    pub(crate) fn bytes_for(&self, tokens: usize) -> u64 {
        let pages = (tokens.div_ceil(PAGE_TOKENS) * self.layers) as u64;
        pages * (self.page(self.key_dim).bytes() + self.page(self.value_dim).bytes())
    }

    fn page(&self, dim: usize) -> Page {
        Page::new(self.storage, [self.kv_heads, PAGE_TOKENS, dim], &self.device)
    }
}

/// The cache of one sequence. Its pages go with it.
pub struct KvCache {
    layout: Arc<KvLayout>,
    layers: Vec<Layer>,
}

#[derive(Default)]
struct Layer {
    keys: Vec<Page>,
    values: Vec<Page>,
    tokens: usize,
}

impl KvCache {
    pub(crate) fn new(layout: Arc<KvLayout>, layers: usize) -> Self {
        Self { layout, layers: std::iter::repeat_with(Layer::default).take(layers).collect() }
    }

    /// Tokens that a layer holds.
    pub(crate) fn tokens(&self, layer: usize) -> usize {
        self.layers[layer].tokens
    }

    /// Appends `[kv_heads, rows, dim]` each.
    pub(crate) fn append(&mut self, layer: usize, keys: &Tensor<3>, values: &Tensor<3>) {
        let Self { layout, layers } = self;
        let layer = &mut layers[layer];
        append(layout, &mut layer.keys, layer.tokens, keys, layout.key_dim);
        append(layout, &mut layer.values, layer.tokens, values, layout.value_dim);
        layer.tokens += keys.dims()[1];
    }

    /// All keys and all values of a layer, `[kv_heads, tokens, dim]` each.
    pub(crate) fn read(&self, layer: usize) -> (Tensor<3>, Tensor<3>) {
        let Layer { keys, values, tokens } = &self.layers[layer];
        (read(keys, *tokens), read(values, *tokens))
    }
}

impl Drop for KvCache {
    fn drop(&mut self) {
        let pages = self.layers.iter().flat_map(|layer| layer.keys.iter().chain(&layer.values));
        self.layout.live.fetch_sub(pages.map(Page::bytes).sum(), Ordering::Relaxed);
    }
}

fn append(layout: &KvLayout, pages: &mut Vec<Page>, tokens: usize, new: &Tensor<3>, dim: usize) {
    let [heads, rows, _] = new.dims();
    let mut done = 0;
    while done < rows {
        let at = (tokens + done) % PAGE_TOKENS;
        if at == 0 {
            let page = layout.page(dim);
            layout.live.fetch_add(page.bytes(), Ordering::Relaxed);
            pages.push(page);
        }
        let fits = (PAGE_TOKENS - at).min(rows - done);
        if let Some(page) = pages.last_mut() {
            page.write(at, new.clone().slice([0..heads, done..done + fits, 0..dim]));
        }
        done += fits;
    }
}

fn read(pages: &[Page], tokens: usize) -> Tensor<3> {
    let filled = |index: usize| (tokens - index * PAGE_TOKENS).min(PAGE_TOKENS);
    let mut parts =
        pages.iter().enumerate().map(|(index, page)| page.read(filled(index))).collect::<Vec<_>>();
    if parts.len() == 1 { parts.swap_remove(0) } else { Tensor::cat(parts, 1) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use burn::tensor::{Device, Distribution, Tensor};
    use hearth_model::KvType;

    use super::{KvCache, KvLayout, KvStorage, PAGE_TOKENS};

    const DIM: usize = 40;

    fn layout(storage: KvStorage) -> Arc<KvLayout> {
        Arc::new(KvLayout {
            kv_heads: 2,
            key_dim: DIM,
            value_dim: 32,
            storage,
            layers: 1,
            device: Device::flex(),
            live: AtomicU64::new(0),
        })
    }

    fn random(rows: usize, dim: usize) -> Tensor<3> {
        Tensor::random([2, rows, dim], Distribution::Uniform(-1.0, 1.0), &Device::flex())
    }

    fn largest_difference(a: Tensor<3>, b: Tensor<3>) -> f32 {
        (a - b).abs().max().into_scalar()
    }

    #[test]
    fn what_is_appended_in_pieces_is_read_as_a_whole() {
        // Half precision keeps 11 bits; 8-bit blocks keep 1/127 of the largest, halved.
        let kinds = [
            (KvStorage::Exact, 0.0),
            (KvStorage::Kept(KvType::F16), 1.0 / 2048.0),
            (KvStorage::Kept(KvType::Q8_0), 1.01 / 254.0),
        ];
        for (storage, error) in kinds {
            let mut cache = KvCache::new(layout(storage), 1);
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            for rows in [PAGE_TOKENS - 1, 1, 1, 2 * PAGE_TOKENS + 3, 5] {
                let (k, v) = (random(rows, DIM), random(rows, 32));
                cache.append(0, &k, &v);
                keys.push(k);
                values.push(v);
            }
            let (k, v) = cache.read(0);
            assert_eq!(k.dims(), [2, cache.tokens(0), DIM]);
            assert!(largest_difference(k, Tensor::cat(keys, 1)) <= error);
            assert!(largest_difference(v, Tensor::cat(values, 1)) <= error);
        }
    }

    #[test]
    fn pages_are_counted_and_go_with_the_cache() {
        for kv_type in [KvType::F16, KvType::Q8_0] {
            let layout = layout(KvStorage::Kept(kv_type));
            let mut cache = KvCache::new(Arc::clone(&layout), 1);
            cache.append(0, &random(PAGE_TOKENS + 1, DIM), &random(PAGE_TOKENS + 1, 32));
            let a_token = 2 * (kv_type.bytes(DIM as u32) + kv_type.bytes(32));
            assert_eq!(layout.live.load(Ordering::Relaxed), 2 * PAGE_TOKENS as u64 * a_token);
            assert_eq!(layout.bytes_for(PAGE_TOKENS + 1), 2 * PAGE_TOKENS as u64 * a_token);
            drop(cache);
            assert_eq!(layout.live.load(Ordering::Relaxed), 0);
        }
    }
}
