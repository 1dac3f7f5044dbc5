//! Feed-forward networks of which every row takes a few.
//!
//! Rows that take the same expert are put next to each other, so that each of its
//! matrices is read once for all of them. The result of a row does not depend on who its
//! neighbours are, and its experts' parts are added in the order of experts.

use hearth_kernels::arena::{ArenaError, Floats};
use hearth_kernels::elementwise::{add, add_scaled, gate};
use hearth_kernels::linear::{GroupColumns, Groups, Quantized, Target, TileColumns};
use hearth_kernels::pool::{Both, Chunks};
use hearth_program::arch::Experts;

use super::linear::{Input, each_row};
use super::routes::Routes;
use super::{PANEL_ROWS, ROWS_AT_ONCE, Registers, Run};
use crate::lower::Mixture;

/// Places whose rows a thread gathers at a time.
const PLACES_AT_ONCE: usize = 32;

/// What mixtures are computed in. A place is a row of an expert.
#[derive(Debug)]
pub(crate) struct Room {
    /// `[rows][experts]`.
    scores: Floats,
    routes: Routes,
    /// Rows on their way in, and what experts make of them: `[places][width]`.
    wide: Floats,
    /// Gates, and what they let through: `[places][an expert's width]`.
    gates: Floats,
    ups: Floats,
    /// Rows on their way in, then what gates let through.
    quantized: Quantized,
}

/// What room mixtures need.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RoomNeeds {
    experts: usize,
    used: usize,
    /// Numbers of a row.
    width: usize,
    /// Numbers that an expert's gate lets through.
    inner: usize,
    /// The longest row that is quantized.
    quantized: usize,
}

impl RoomNeeds {
    /// That of one mixture, of rows of `width` numbers, more.
    pub(crate) fn add(&mut self, op: &Mixture, width: usize) {
        self.experts = self.experts.max(op.experts.experts);
        self.used = self.used.max(op.experts.used);
        self.width = self.width.max(width);
        self.inner = self.inner.max(op.width);
        for (quantized, width) in [(op.quantized, width), (op.down_quantized, op.width)] {
            self.quantized = self.quantized.max(if quantized { width } else { 0 });
        }
    }
}

impl Room {
    /// For up to `rows` rows.
    pub(crate) fn new(rows: usize, needs: &RoomNeeds) -> Result<Self, ArenaError> {
        let RoomNeeds { experts, used, width, inner, quantized } = *needs;
        let places = Groups::most_rows(rows.saturating_mul(used), experts);
        let floats = |a: usize, b: usize| Floats::zeros(a.saturating_mul(b));
        Ok(Self {
            scores: floats(rows, experts)?,
            routes: Routes::with_capacity(rows, experts, used),
            wide: floats(places, width)?,
            gates: floats(places, inner)?,
            ups: floats(places, inner)?,
            quantized: Quantized::with_capacity(places, quantized),
        })
    }

    /// Bytes of what grows with the model.
    pub(crate) fn bytes(&self) -> usize {
        let Self { scores, routes: _, wide, gates, ups, quantized } = self;
        [scores, wide, gates, ups].into_iter().map(Floats::bytes).sum::<usize>() + quantized.bytes()
    }
}

impl Run<'_> {
    pub(super) fn mixture(&mut self, op: &Mixture) {
        self.prepare(op.norm.as_ref(), op.input, op.quantized);
        self.route(op);
        self.gather(op);
        self.inside(op);
        self.outside(op);
        self.mix(op);
    }

    /// Who takes which expert.
    fn route(&mut self, op: &Mixture) {
        let (pool, isa, rows) = (self.pool, self.isa, self.rows);
        let count = op.experts.experts;
        let plain = &self.numbers[op.input as usize][..rows * self.widths[op.input as usize]];
        let Room { scores, routes, .. } = &mut self.scratch.room;
        let scores = &mut scores[..rows * count];
        let input = Input { isa, quantized: self.scratch.quantized.all(), plain };
        let router = self.weights.matrix(op.experts.router);
        let columns = TileColumns::new(&op.router, [[Target::new(scores, rows, count)]]);
        pool.over(columns, |_, (cut, [mut out]), _| input.times(&router, cut, &mut out));
        routes.choose(pool, &op.experts, scores);
    }

    /// Brings rows to their places.
    fn gather(&mut self, op: &Mixture) {
        let (pool, width) = (self.pool, self.width(op.input));
        let from = &*self.numbers[op.input as usize];
        let Room { routes, wide, quantized, .. } = &mut self.scratch.room;
        let rows = &routes.rows;
        let rows_of = |chunk: usize| {
            let first = chunk * PLACES_AT_ONCE;
            rows[first..rows.len().min(first + PLACES_AT_ONCE)].iter().enumerate()
        };
        if op.plain {
            let wide = Chunks::new(&mut wide[..rows.len() * width], PLACES_AT_ONCE * width);
            pool.over(wide, |chunk, wide, _| {
                for (at, row) in rows_of(chunk) {
                    if let Some(row) = row {
                        wide[at * width..][..width].copy_from_slice(&from[row * width..][..width]);
                    }
                }
            });
        }
        if op.quantized {
            let from = self.scratch.quantized.all();
            let panels = quantized.in_panels(rows.len(), width, PLACES_AT_ONCE / PANEL_ROWS);
            pool.over(panels, |chunk, mut panel, _| {
                for (at, row) in rows_of(chunk) {
                    if let Some(row) = row {
                        panel.copy(at, &from, *row);
                    }
                }
            });
        }
    }

    /// What gates let through.
    fn inside(&mut self, op: &Mixture) {
        let (pool, isa, weights, width) = (self.pool, self.isa, self.weights, self.width(op.input));
        let Experts { gate: gates_of, up: ups_of, activation, .. } = op.experts;
        let Room { routes, wide, gates, ups, quantized, .. } = &mut self.scratch.room;
        let (places, wide, quantized) = (routes.groups.rows(), &*wide, &*quantized);
        let targets = [gates, ups].map(|numbers| Target::new(numbers, places, op.width));
        let columns = GroupColumns::new(&routes.groups, &op.inner, targets);
        pool.over(columns, |_, (group, cut, [mut of_gate, mut up]), _| {
            let quantized = if op.quantized { group.of(quantized) } else { quantized.none() };
            let plain = &wide[group.first * width..][..group.rows * width];
            let input = Input { isa, quantized, plain };
            input.times(&weights.expert(gates_of, group.matrix), cut, &mut of_gate);
            input.times(&weights.expert(ups_of, group.matrix), cut, &mut up);
            each_row(&mut of_gate, &mut up, |of_gate, up| gate(isa, activation, of_gate, up));
        });
    }

    /// What experts make of that.
    fn outside(&mut self, op: &Mixture) {
        let (pool, isa, weights, width) = (self.pool, self.isa, self.weights, self.width(op.out));
        let Room { routes, wide, ups, quantized, .. } = &mut self.scratch.room;
        let (places, ups, rows, inner) = (routes.groups.rows(), &*ups, &routes.rows, op.width);
        if op.down_quantized {
            let panels = quantized.in_panels(places, inner, PLACES_AT_ONCE / PANEL_ROWS);
            pool.over(panels, |chunk, mut panel, _| {
                let first = chunk * PLACES_AT_ONCE;
                for place in first..places.min(first + PLACES_AT_ONCE) {
                    if rows[place].is_some() {
                        panel.quantize(isa, place - first, &ups[place * inner..][..inner]);
                    }
                }
            });
        }
        let quantized = &*quantized;
        let targets = [Target::new(wide, places, width)];
        pool.over(GroupColumns::new(&routes.groups, &op.outer, targets), |_, (group, cut, [mut out]), _| {
            let quantized = if op.down_quantized { group.of(quantized) } else { quantized.none() };
            let plain = &ups[group.first * inner..][..group.rows * inner];
            let input = Input { isa, quantized, plain };
            input.times(&weights.expert(op.experts.down, group.matrix), cut, &mut out);
        });
    }

    /// Adds up what a row's experts made of it.
    fn mix(&mut self, op: &Mixture) {
        let (pool, isa, width) = (self.pool, self.isa, self.width(op.out));
        let Room { routes, wide, .. } = &self.scratch.room;
        let mixed = |chunk: usize, out: &mut [f32]| {
            out.fill(0.0);
            for (at, out) in out.chunks_exact_mut(width).enumerate() {
                for choice in routes.of(chunk * ROWS_AT_ONCE + at) {
                    add_scaled(isa, choice.share, &wide[choice.place * width..][..width], out);
                }
            }
        };
        let mut registers = Registers::new(&mut self.numbers, self.widths, self.rows);
        let out = Chunks::new(registers.take(op.out), ROWS_AT_ONCE * width);
        match op.sum {
            None => pool.over(out, |chunk, out, _| mixed(chunk, out)),
            Some(sum) => {
                let sum = Chunks::new(registers.take(sum), ROWS_AT_ONCE * width);
                pool.over(Both::new(out, sum), |chunk, (out, sum), _| {
                    mixed(chunk, out);
                    add(isa, out, sum);
                });
            }
        }
    }
}
