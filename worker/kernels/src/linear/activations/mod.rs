//! Rows of activations, as bytes with a scale a block of 32.

mod block;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::isa::Isa;
use crate::pack::form::BLOCK;
use crate::pool::{Chunks, Split};

pub(crate) use block::Block;
use block::{Make, Portable};

/// Rows that lie interleaved, so that a kernel reaches four through one pointer.
pub(crate) const PANEL: usize = 4;

/// Quantized rows: the activations of linear layers whose weights are quantized.
///
/// A block of 32 activations has a scale of its own: a 127th of its largest
/// magnitude. Blocks are never longer, as rows of 576 or 640 are common. A block
/// with a number that is not finite makes NaN of whatever it is multiplied with.
#[derive(Clone, Debug, Default)]
pub struct Quantized {
    /// `[rows / PANEL][blocks of a row][PANEL]`; rows beyond the last are zero or stale.
    blocks: Vec<Block>,
    rows: usize,
    per_row: usize,
}

impl Quantized {
    /// Space for up to `rows` rows of `inputs`, so that quantizing as many does not
    /// allocate.
    #[must_use]
    pub fn with_capacity(rows: usize, inputs: usize) -> Self {
        let blocks = Vec::with_capacity(rows.next_multiple_of(PANEL) * inputs.div_ceil(BLOCK));
        Self { blocks, ..Self::default() }
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Elements of a row.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.per_row * BLOCK
    }

    /// What the codes of `row` stand for.
    ///
    /// # Panics
    /// There is no such row, or `out` does not have its length.
    pub fn dequantize(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.inputs());
        for (b, out) in out.chunks_exact_mut(BLOCK).enumerate() {
            let block = self.block(row, b);
            for (out, code) in out.iter_mut().zip(block.codes.as_flattened()) {
                *out = block.scale * f32::from(*code);
            }
        }
    }

    /// Makes place for rows of `inputs` elements. What is in it is undefined.
    fn resize(&mut self, rows: usize, inputs: usize) {
        self.rows = rows;
        self.per_row = inputs / BLOCK;
        self.blocks.resize(rows.next_multiple_of(PANEL) * self.per_row, Block::ZERO);
    }

    /// Makes place for rows of `inputs` elements, a multiple of 32, to be quantized by
    /// several threads, `panels` panels of four rows at a time.
    ///
    /// # Panics
    /// `inputs` is not a positive multiple of 32, or `panels` is 0.
    pub fn in_panels(&mut self, rows: usize, inputs: usize, panels: usize) -> Panels<'_> {
        assert!(inputs > 0 && inputs.is_multiple_of(BLOCK), "{inputs} inputs are not whole blocks");
        self.resize(rows, inputs);
        Panels { per_row: self.per_row, blocks: Chunks::new(&mut self.blocks, panels * PANEL * self.per_row) }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// Block `b` of `row`.
    pub(crate) fn block(&self, row: usize, b: usize) -> &Block {
        &self.blocks[(row / PANEL * self.per_row + b) * PANEL + row % PANEL]
    }

    /// The first block of each panel of rows is [`Quantized::panel_blocks`] after
    /// that of the one before.
    pub(crate) fn panels(&self) -> &[Block] {
        &self.blocks
    }

    /// Blocks of a panel.
    pub(crate) fn panel_blocks(&self) -> usize {
        self.per_row * PANEL
    }

    /// Blocks of a row.
    pub(crate) fn per_row(&self) -> usize {
        self.per_row
    }
}

/// Place for quantized rows that several threads fill.
#[derive(Debug)]
pub struct Panels<'a> {
    per_row: usize,
    blocks: Chunks<'a, Block>,
}

/// Place for some neighbouring quantized rows.
#[derive(Debug)]
pub struct Panel<'a> {
    per_row: usize,
    blocks: &'a mut [Block],
}

// SAFETY: parts are those of a slice.
unsafe impl<'a> Split for Panels<'a> {
    type Part = Panel<'a>;

    fn len(&self) -> usize {
        self.blocks.len()
    }

    unsafe fn part(&self, index: usize) -> Panel<'a> {
        // SAFETY: the caller's contract.
        Panel { per_row: self.per_row, blocks: unsafe { self.blocks.part(index) } }
    }
}

impl Panel<'_> {
    /// Quantizes the rows.
    ///
    /// # Panics
    /// `x` is not whole rows, or more than there is place for.
    pub fn quantize(&mut self, isa: Isa, x: &[f32]) {
        assert!(x.len().is_multiple_of(self.per_row * BLOCK), "parts of rows");
        quantize_into(isa, x, self.per_row, self.blocks);
    }
}

/// Quantizes rows of `inputs` elements, a multiple of 32. `out` keeps its memory.
///
/// # Panics
/// `inputs` is not a positive multiple of 32, or `x` is not whole rows.
pub fn quantize(isa: Isa, x: &[f32], inputs: usize, out: &mut Quantized) {
    assert!(inputs > 0 && inputs.is_multiple_of(BLOCK), "{inputs} inputs are not whole blocks");
    assert!(x.len().is_multiple_of(inputs), "{} activations are not rows of {inputs}", x.len());
    out.resize(x.len() / inputs, inputs);
    quantize_into(isa, x, out.per_row, &mut out.blocks);
}

/// Quantizes rows of `per_row` blocks into the panels of `blocks`.
///
/// # Panics
/// `x` is not whole rows, or there are fewer panels.
pub(crate) fn quantize_into(isa: Isa, x: &[f32], per_row: usize, blocks: &mut [Block]) {
    // SAFETY: a value of `Isa` is proof that this CPU has the instructions.
    unsafe {
        match isa {
            Isa::Portable => rows::<Portable>(x, per_row, blocks),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => rows_avx2(x, per_row, blocks),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => rows::<Portable>(x, per_row, blocks),
        }
    }
}

/// # Safety
/// That of [`Make::block`].
#[inline(always)]
unsafe fn rows<M: Make>(x: &[f32], per_row: usize, blocks: &mut [Block]) {
    for (row, x) in x.chunks_exact(per_row * BLOCK).enumerate() {
        let blocks = &mut blocks[row / PANEL * per_row * PANEL..][..per_row * PANEL];
        let places = blocks.as_chunks_mut::<PANEL>().0;
        for (x, places) in x.as_chunks::<BLOCK>().0.iter().zip(places) {
            // SAFETY: the caller's contract.
            places[row % PANEL] = unsafe { M::block(x) };
        }
    }
}

/// # Safety
/// The CPU has the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn rows_avx2(x: &[f32], per_row: usize, blocks: &mut [Block]) {
    // SAFETY: the caller's contract.
    unsafe { rows::<x86::Avx2>(x, per_row, blocks) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sets_agree() {
        let mut x: Vec<f32> = (0..5 * 96).map(|i| ((i * 7919 % 1000) as f32 - 500.0) * 1.37e-3).collect();
        // A block each: ties, zeros, numbers that are too small, too large, none.
        x[..32].iter_mut().enumerate().for_each(|(i, x)| *x = i as f32 - 15.5);
        x[0] = 127.0;
        x[32..64].fill(-0.0);
        x[64..96].fill(1e-38);
        x[96..128].fill(f32::MAX);
        x[130] = f32::NAN;
        x[170] = f32::NEG_INFINITY;
        let mut twin = Quantized::default();
        quantize(Isa::Portable, &x, 96, &mut twin);
        for isa in Isa::available() {
            let mut out = Quantized::with_capacity(5, 96);
            quantize(isa, &x, 96, &mut out);
            for row in 0..5 {
                for b in 0..3 {
                    // As text, so that what is not a number equals itself.
                    let text = |q: &Quantized| format!("{:?}", q.block(row, b));
                    assert_eq!(text(&out), text(&twin), "{isa:?}");
                }
            }
        }
    }

    #[test]
    fn panels_are_filled_as_the_whole_is() {
        let x: Vec<f32> = (0..11 * 64).map(|i| (i as f32 * 0.7).cos()).collect();
        let (mut whole, mut parts) = (Quantized::default(), Quantized::default());
        quantize(Isa::detect(), &x, 64, &mut whole);
        let panels = parts.in_panels(11, 64, 2);
        assert_eq!(panels.len(), 2);
        for i in [1, 0] {
            let x = &x[i * 8 * 64..];
            // SAFETY: each once.
            unsafe { panels.part(i) }.quantize(Isa::detect(), &x[..x.len().min(8 * 64)]);
        }
        for row in 0..11 {
            assert!((0..2).all(|b| parts.block(row, b) == whole.block(row, b)));
        }
    }

    #[test]
    fn codes_stand_for_numbers_within_half_a_step() {
        let x: Vec<f32> = (0..64).map(|i| (i as f32 * 0.37).sin()).collect();
        let (mut q, mut back) = (Quantized::default(), [0.0; 64]);
        quantize(Isa::detect(), &x, 64, &mut q);
        q.dequantize(0, &mut back);
        for (b, (x, back)) in x.iter().zip(&back).enumerate() {
            let step = q.block(0, b / 32).scale;
            assert!((x - back).abs() <= step * 0.5001);
        }
    }
}
