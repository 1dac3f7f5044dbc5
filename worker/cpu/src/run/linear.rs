//! Linear layers, and what is fused with them.

use hearth_kernels::elementwise::{add, gelu_gate, rms_norm, silu_gate};
use hearth_kernels::isa::Isa;
use hearth_kernels::linear::{Activations, Columns, Cut, Quantized, Target, TileColumns, multiply};
use hearth_kernels::pack::TILE;
use hearth_kernels::pool::{Both, Chunks};
use hearth_program::arch::Activation;

use super::{ROWS_AT_ONCE, Registers, Run};
use crate::load::Weights;
use crate::lower::{Effect, Linears, Part};

/// Rows of a panel of quantized rows.
const PANEL_ROWS: usize = 4;

impl Run<'_> {
    pub(super) fn linears(&mut self, op: &Linears) {
        self.prepare(op);
        let Linears { norm: _, input, quantized: _, parts, cuts, effect } = op;
        let (pool, isa, rows, weights, widths) = (self.pool, self.isa, self.rows, self.weights, self.widths);
        let mut registers = Registers::new(&mut self.numbers, widths, rows);
        let plain = &*registers.take(*input);
        let layers = Layers { isa, weights, quantized: &self.scratch.quantized, plain };
        let mut target = |register| Target::new(registers.take(register), rows, widths[register as usize]);
        match *effect {
            Effect::Keep => {
                let columns = TileColumns::new(cuts, parts.iter().map(|part| [target(part.out)]));
                pool.over(columns, |_, (cut, [mut out]), _| {
                    layers.multiply(&parts[cut.matrix], cut, &mut out);
                });
            }
            Effect::AddTo(sum) => {
                let part = &parts[0];
                let columns = TileColumns::new(cuts, [[target(part.out), target(sum)]]);
                pool.over(columns, |_, (cut, [mut out, mut sum]), _| {
                    layers.multiply(part, cut, &mut out);
                    each_row(&mut out, &mut sum, |out, sum| add(isa, out, sum));
                });
            }
            Effect::Gate(activation) => {
                let columns = TileColumns::new(cuts, [[target(parts[0].out), target(parts[1].out)]]);
                pool.over(columns, |_, (cut, [mut gate, mut up]), _| {
                    layers.multiply(&parts[0], cut, &mut gate);
                    layers.multiply(&parts[1], cut, &mut up);
                    each_row(&mut gate, &mut up, |gate, up| apply(isa, activation, gate, up));
                });
            }
        }
    }

    /// Makes the input, and quantizes it.
    fn prepare(&mut self, op: &Linears) {
        let (pool, isa, rows, width) = (self.pool, self.isa, self.rows, self.width(op.input));
        let weights = self.weights;
        let quantized = &mut self.scratch.quantized;
        let panels = |quantized| Quantized::in_panels(quantized, rows, width, ROWS_AT_ONCE / PANEL_ROWS);
        let piece = ROWS_AT_ONCE * width;
        let mut registers = Registers::new(&mut self.numbers, self.widths, rows);
        let input = registers.take(op.input);
        if let Some((from, norm)) = &op.norm {
            let from = &*registers.take(*from);
            let weight = weights.vector(norm.weight);
            let normed = |chunk: usize, out: &mut [f32]| {
                rms_norm(isa, weight, norm.epsilon, &from[chunk * piece..][..out.len()], out);
            };
            if op.quantized {
                let parts = Both::new(Chunks::new(input, piece), panels(quantized));
                pool.over(parts, |chunk, (out, mut panel), _| {
                    normed(chunk, out);
                    panel.quantize(isa, out);
                });
            } else {
                pool.over(Chunks::new(input, piece), |chunk, out, _| normed(chunk, out));
            }
        } else if op.quantized {
            let input = &*input;
            pool.over(panels(quantized), |chunk, mut panel, _| {
                let from = &input[chunk * piece..];
                panel.quantize(isa, &from[..from.len().min(piece)]);
            });
        }
    }
}

/// What a product is made of.
struct Layers<'a> {
    isa: Isa,
    weights: &'a Weights,
    quantized: &'a Quantized,
    plain: &'a [f32],
}

impl Layers<'_> {
    fn multiply(&self, part: &Part, cut: &Cut, out: &mut Columns<'_>) {
        let matrix = self.weights.matrix(part.weight);
        let input = match matrix.layout().is_quantized() {
            true => Activations::Quantized(self.quantized),
            false => Activations::Plain(self.plain),
        };
        multiply(self.isa, &matrix, input, cut.tiles.clone(), out);
        if let Some(bias) = part.bias {
            let width = out.width();
            let bias = &self.weights.vector(bias)[cut.tiles.start * TILE..][..width];
            for row in 0..out.rows() {
                add(self.isa, bias, out.part(row, 0, width));
            }
        }
    }
}

/// The same columns of each row of two matrices.
fn each_row(a: &mut Columns<'_>, b: &mut Columns<'_>, with: impl Fn(&[f32], &mut [f32])) {
    let width = a.width();
    for row in 0..a.rows() {
        with(a.part(row, 0, width), b.part(row, 0, width));
    }
}

/// `out = activation(gate) · out`.
pub(super) fn apply(isa: Isa, activation: Activation, gate: &[f32], out: &mut [f32]) {
    match activation {
        Activation::Silu => silu_gate(isa, gate, out),
        Activation::GeluTanh => gelu_gate(isa, gate, out),
        Activation::Gelu => unreachable!("refused when it was lowered"),
    }
}
