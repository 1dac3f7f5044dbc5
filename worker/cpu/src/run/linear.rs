//! Linear layers, and what is fused with them.

use hearth_kernels::elementwise::{activate, add, gate, normalize};
use hearth_kernels::isa::Isa;
use hearth_kernels::linear::{Activations, Columns, Cut, Matrix, Quantized, QuantizedRows};
use hearth_kernels::linear::{Target, TileColumns, multiply};
use hearth_kernels::pack::TILE;
use hearth_kernels::pool::{Both, Chunks};
use hearth_program::arch::{Norm, Register};

use super::{PANEL_ROWS, ROWS_AT_ONCE, Registers, Run};
use crate::load::Weights;
use crate::lower::{Effect, Linears, Part};

impl Run<'_> {
    pub(super) fn linears(&mut self, op: &Linears) {
        self.prepare(op.norm.as_ref(), op.input, op.quantized);
        let Linears { norm: _, input, quantized: _, parts, cuts, effect } = op;
        let (pool, isa, rows, weights, widths) = (self.pool, self.isa, self.rows, self.weights, self.widths);
        let mut registers = Registers::new(&mut self.numbers, widths, rows);
        let plain = &*registers.take(*input);
        let input = Input { isa, quantized: self.scratch.quantized.all(), plain };
        let mut target = |register| Target::new(registers.take(register), rows, widths[register as usize]);
        match *effect {
            Effect::Keep => {
                let columns = TileColumns::new(cuts, parts.iter().map(|part| [target(part.out)]));
                pool.over(columns, |_, (cut, [mut out]), _| {
                    input.layer(weights, &parts[cut.matrix], cut, &mut out);
                });
            }
            Effect::Activate(activation) => {
                let columns = TileColumns::new(cuts, [[target(parts[0].out)]]);
                pool.over(columns, |_, (cut, [mut out]), _| {
                    input.layer(weights, &parts[0], cut, &mut out);
                    let width = out.width();
                    (0..out.rows()).for_each(|row| activate(isa, activation, out.part(row, 0, width)));
                });
            }
            Effect::AddTo(sum) => {
                let part = &parts[0];
                let columns = TileColumns::new(cuts, [[target(part.out), target(sum)]]);
                pool.over(columns, |_, (cut, [mut out, mut sum]), _| {
                    input.layer(weights, part, cut, &mut out);
                    each_row(&mut out, &mut sum, |out, sum| add(isa, out, sum));
                });
            }
            Effect::Gate(activation) => {
                let columns = TileColumns::new(cuts, [[target(parts[0].out), target(parts[1].out)]]);
                pool.over(columns, |_, (cut, [mut of_gate, mut up]), _| {
                    input.layer(weights, &parts[0], cut, &mut of_gate);
                    input.layer(weights, &parts[1], cut, &mut up);
                    each_row(&mut of_gate, &mut up, |of_gate, up| gate(isa, activation, of_gate, up));
                });
            }
        }
    }

    /// Makes the input of products, if it is made by a norm of another register, and
    /// quantizes it, if a product takes it so.
    pub(super) fn prepare(&mut self, norm: Option<&(Register, Norm)>, input: Register, quantize: bool) {
        let (pool, isa, rows, width) = (self.pool, self.isa, self.rows, self.width(input));
        let weights = self.weights;
        let quantized = &mut self.scratch.quantized;
        let panels = |quantized| Quantized::in_panels(quantized, rows, width, ROWS_AT_ONCE / PANEL_ROWS);
        let piece = ROWS_AT_ONCE * width;
        let mut registers = Registers::new(&mut self.numbers, self.widths, rows);
        let input = registers.take(input);
        if let Some((from, norm)) = norm {
            let from = &*registers.take(*from);
            let norm = weights.norm(norm);
            let normed = |chunk: usize, out: &mut [f32]| {
                normalize(isa, &norm, &from[chunk * piece..][..out.len()], out);
            };
            if quantize {
                let parts = Both::new(Chunks::new(input, piece), panels(quantized));
                pool.over(parts, |chunk, (out, mut panel), _| {
                    normed(chunk, out);
                    panel.quantize(isa, 0, out);
                });
            } else {
                pool.over(Chunks::new(input, piece), |chunk, out, _| normed(chunk, out));
            }
        } else if quantize {
            let input = &*input;
            pool.over(panels(quantized), |chunk, mut panel, _| {
                let from = &input[chunk * piece..];
                panel.quantize(isa, 0, &from[..from.len().min(piece)]);
            });
        }
    }
}

/// Rows in both forms; that which no product takes may be stale.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    pub(super) isa: Isa,
    pub(super) quantized: QuantizedRows<'a>,
    pub(super) plain: &'a [f32],
}

impl Input<'_> {
    /// Their products with some tiles of a matrix.
    pub(super) fn times(&self, matrix: &Matrix<'_>, cut: &Cut, out: &mut Columns<'_>) {
        let input = match matrix.layout().is_quantized() {
            true => Activations::Quantized(self.quantized),
            false => Activations::Plain(self.plain),
        };
        multiply(self.isa, matrix, input, cut.tiles.clone(), out);
    }

    /// As [`Input::times`], and the bias.
    fn layer(&self, weights: &Weights, part: &Part, cut: &Cut, out: &mut Columns<'_>) {
        self.times(&weights.matrix(part.weight), cut, out);
        if let Some(bias) = part.bias {
            let width = out.width();
            let bias = &weights.vector(bias)[cut.tiles.start * TILE..][..width];
            for row in 0..out.rows() {
                add(self.isa, bias, out.part(row, 0, width));
            }
        }
    }
}

/// The same columns of each row of two matrices.
pub(super) fn each_row(a: &mut Columns<'_>, b: &mut Columns<'_>, with: impl Fn(&[f32], &mut [f32])) {
    let width = a.width();
    for row in 0..a.rows() {
        with(a.part(row, 0, width), b.part(row, 0, width));
    }
}
