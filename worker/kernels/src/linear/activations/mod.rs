//! Rows of activations, as bytes with a scale a block of 32.

mod block;
mod panels;
mod view;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::isa::Isa;
use crate::pack::form::BLOCK;

pub(crate) use block::Block;
pub use panels::{Panel, Panels};
pub use view::QuantizedRows;

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
        let blocks = rows.next_multiple_of(PANEL) * self.per_row;
        // What is not needed now stays, or it would be filled with zeros once more.
        if self.blocks.len() < blocks {
            self.blocks.resize(blocks, Block::ZERO);
        }
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
    }

    /// Block `b` of `row`.
    pub(crate) fn block(&self, row: usize, b: usize) -> &Block {
        &self.blocks[place(self.per_row, row, b)]
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
    quantize_into(isa, x, out.per_row, 0, &mut out.blocks);
}

/// Where block `b` of `row` lies, in rows of `per_row` blocks.
fn place(per_row: usize, row: usize, b: usize) -> usize {
    (row / PANEL * per_row + b) * PANEL + row % PANEL
}

/// Quantizes rows of `per_row` blocks into the panels of `blocks`, as row `first` and
/// those after it.
///
/// # Panics
/// `x` is not whole rows, or there are fewer panels.
fn quantize_into(isa: Isa, x: &[f32], per_row: usize, first: usize, blocks: &mut [Block]) {
    // SAFETY: a value of `Isa` is proof that this CPU has the instructions.
    unsafe {
        match isa {
            Isa::Portable => rows::<Portable>(x, per_row, first, blocks),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => rows_avx2(x, per_row, first, blocks),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::AvxVnni | Isa::Avx512Vnni => rows::<Portable>(x, per_row, first, blocks),
        }
    }
}

/// # Safety
/// That of [`Make::block`].
#[inline(always)]
unsafe fn rows<M: Make>(x: &[f32], per_row: usize, first: usize, blocks: &mut [Block]) {
    for (row, x) in (first..).zip(x.chunks_exact(per_row * BLOCK)) {
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
unsafe fn rows_avx2(x: &[f32], per_row: usize, first: usize, blocks: &mut [Block]) {
    // SAFETY: the caller's contract.
    unsafe { rows::<x86::Avx2>(x, per_row, first, blocks) }
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
