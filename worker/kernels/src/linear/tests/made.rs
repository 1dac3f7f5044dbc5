//! Made-up matrices and activations.

use half::f16;
use hearth_model::DType;

use crate::isa::Isa;
use crate::linear::{Activations, Columns, Matrix, Quantized, multiply, quantize};
use crate::pack::{Layout, pack_rows};

/// Numbers that look random and are the same in every run.
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    /// SplitMix64.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Between -1 and 1.
    pub(super) fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// What a test fills a matrix with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fill {
    /// Any codes, scales as weights have them.
    Usual,
    /// All bits of codes set, largest scales.
    Ones,
    /// All bits of codes clear, smallest scales.
    Zeros,
    /// Any codes; scales are largest, smallest, negative, zero in turn.
    Extreme,
}

/// Where a block has half-precision numbers.
fn halves(dtype: DType) -> &'static [usize] {
    match dtype {
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
        DType::F32 | DType::BF16 => &[],
        _ => &[0],
    }
}

/// Bytes of a file's matrix, all of whose weights are finite.
pub(super) fn file(
    dtype: DType,
    outputs: usize,
    inputs: usize,
    fill: Fill,
    numbers: &mut Numbers,
) -> Vec<u8> {
    let mut bytes = vec![0; dtype.bytes_for((outputs * inputs) as u64).unwrap() as usize];
    for (i, block) in bytes.chunks_exact_mut(dtype.block_bytes() as usize).enumerate() {
        block.fill_with(|| match fill {
            Fill::Ones => 0xff,
            Fill::Zeros => 0,
            Fill::Usual | Fill::Extreme => numbers.bits() as u8,
        });
        let number = match (fill, i % 5) {
            (Fill::Ones, _) | (Fill::Extreme, 0) => f16::MAX,
            (Fill::Zeros, _) | (Fill::Extreme, 1) => f16::from_bits(1),
            (Fill::Extreme, 2) => f16::NEG_ZERO,
            (Fill::Extreme, 3) => f16::MIN,
            _ => f16::from_f32(numbers.float() * 0.02),
        };
        match dtype {
            DType::F32 => block.copy_from_slice(&number.to_f32().to_le_bytes()),
            DType::BF16 => block.copy_from_slice(&half::bf16::from_f32(number.to_f32()).to_le_bytes()),
            _ => {
                for at in halves(dtype) {
                    block[*at..at + 2].copy_from_slice(&number.to_le_bytes());
                }
            }
        }
    }
    bytes
}

/// A matrix in both forms.
pub(super) struct Made {
    pub(super) layout: Layout,
    pub(super) file: Vec<u8>,
    packed: Vec<u8>,
}

impl Made {
    pub(super) fn new(dtype: DType, outputs: usize, inputs: usize, fill: Fill, seed: u64) -> Self {
        let file = file(dtype, outputs, inputs, fill, &mut Numbers(seed));
        let layout = Layout::of(dtype, outputs as u64, inputs as u64).unwrap();
        let mut packed = vec![0xaa; layout.bytes()];
        pack_rows(&layout, 0, &file, &mut packed).unwrap();
        Self { layout, file, packed }
    }

    pub(super) fn matrix(&self) -> Matrix<'_> {
        Matrix::new(self.layout, &self.packed)
    }

    /// All outputs for rows `x`.
    pub(super) fn times(&self, isa: Isa, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.layout.inputs();
        let mut out = vec![f32::NAN; rows * self.layout.outputs()];
        let mut quantized = Quantized::default();
        let activations = if self.layout.is_quantized() {
            quantize(isa, x, self.layout.inputs(), &mut quantized);
            Activations::from(&quantized)
        } else {
            Activations::from(x)
        };
        let mut columns = Columns::whole(&mut out, rows, self.layout.outputs());
        multiply(isa, &self.matrix(), activations, 0..self.layout.tiles(), &mut columns);
        out
    }
}

/// Rows of activations: usual ones, with zeros, a negative zero, and a spike a row.
pub(super) fn activations(rows: usize, inputs: usize, numbers: &mut Numbers) -> Vec<f32> {
    let mut x: Vec<f32> = (0..rows * inputs).map(|_| numbers.float()).collect();
    for (i, row) in x.chunks_exact_mut(inputs).enumerate() {
        row[i % inputs] = [40.0, 0.0, -0.0, -1e4, 1e-20][i % 5];
        if i % 7 == 6 {
            row.fill(0.0);
        }
    }
    x
}

/// Whether two results are the same bits (any NaN being the same).
pub(super) fn same(a: &[f32], b: &[f32]) -> bool {
    let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    a.len() == b.len() && a.iter().zip(b).all(same)
}

/// Rows that are whole blocks of the type, around `inputs`.
pub(super) fn whole(dtype: DType, inputs: usize) -> usize {
    inputs.next_multiple_of(dtype.block_len() as usize)
}
