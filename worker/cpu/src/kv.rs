//! The pages of all layers.

use std::ops::Range;

use hearth_kernels::arena::{Arena, ArenaError, Places};
use hearth_kernels::kv::{Kind, PAGE_TOKENS, PageForm};
use hearth_kernels::pool::{Picked, Picks};
use hearth_model::KvType;
use hearth_program::arch::Attention;
use hearth_program::{PageId, PageLayout};

const _: () = assert!(PAGE_TOKENS == hearth_program::PAGE_TOKENS);

/// How keys and values are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvStorage {
    /// As they were computed: what the other kinds are measured against.
    Exact,
    /// As a replica was asked to keep them.
    Kept(KvType),
}

impl KvStorage {
    fn kind(self) -> Kind {
        match self {
            Self::Exact => Kind::F32,
            Self::Kept(KvType::F16) => Kind::F16,
            Self::Kept(KvType::Q8_0) => Kind::Q8_0,
        }
    }
}

/// Keys and values: for each layer, all pages of its group, one after another.
#[derive(Debug)]
pub(crate) struct Kv {
    layout: PageLayout,
    layers: Vec<Layer>,
    arena: Arena,
}

#[derive(Clone, Debug)]
pub(crate) struct Layer {
    /// The outline of its pages.
    pub(crate) form: PageForm,
    /// Its group in the layout.
    pub(crate) group: usize,
    place: Range<usize>,
}

impl Kv {
    /// Pages for layers with these heads, in the order of the layout's layers.
    pub(crate) fn new(
        layout: PageLayout,
        heads: &[Attention],
        storage: KvStorage,
    ) -> Result<Self, ArenaError> {
        let too_large = || ArenaError { bytes: usize::MAX, source: None };
        let mut places = Places::default();
        let mut layers = Vec::with_capacity(heads.len());
        for (layer, heads) in heads.iter().enumerate() {
            let form = PageForm::new(storage.kind(), heads.kv_heads, heads.key_dim, heads.value_dim);
            let form = form.ok_or_else(too_large)?;
            let group = layout.groups.iter().position(|group| group.layers.contains(&layer));
            let group = group.ok_or_else(too_large)?;
            let bytes = form.bytes().checked_mul(layout.groups[group].pages).ok_or_else(too_large)?;
            let place = places.take(bytes).ok_or_else(too_large)?;
            layers.push(Layer { form, group, place });
        }
        Ok(Self { layout, layers, arena: Arena::new(places.bytes())? })
    }

    /// Pages for texts whose tokens see ahead, which layers share one after another:
    /// nothing is kept for longer than a layer runs, and as it was computed. `layout` is
    /// one without groups.
    pub(crate) fn of_texts(layout: PageLayout, heads: &Attention, pages: usize) -> Result<Self, ArenaError> {
        let too_large = || ArenaError { bytes: usize::MAX, source: None };
        let form = PageForm::new(Kind::F32, heads.kv_heads, heads.key_dim, heads.value_dim);
        let form = form.ok_or_else(too_large)?;
        let arena = Arena::new(form.bytes().checked_mul(pages).ok_or_else(too_large)?)?;
        let layer = Layer { form, group: 0, place: 0..arena.len() };
        Ok(Self { layout, layers: vec![layer], arena })
    }

    pub(crate) fn layout(&self) -> &PageLayout {
        &self.layout
    }

    pub(crate) fn layer(&self, layer: usize) -> &Layer {
        &self.layers[layer]
    }

    /// Bytes of pages whose contents are kept between steps, and of those whose contents
    /// are not.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        if self.layout.groups.is_empty() { (0, self.arena.len()) } else { (self.arena.len(), 0) }
    }

    /// A page of a layer.
    ///
    /// # Panics
    /// There is no such page: rows are checked before they are computed.
    pub(crate) fn page(&self, layer: usize, page: PageId) -> &[u8] {
        let Layer { form, place, .. } = &self.layers[layer];
        let Some(index) = page.index() else { panic!("a page that was given back is read") };
        &self.arena[place.clone()][index * form.bytes()..][..form.bytes()]
    }

    /// Pages of a layer, to be written to.
    pub(crate) fn pages_mut<'a>(&'a mut self, layer: usize, picks: &'a Picks) -> Picked<'a, u8> {
        let Layer { form, place, .. } = &self.layers[layer];
        picks.of(&mut self.arena[place.clone()], form.bytes())
    }
}
