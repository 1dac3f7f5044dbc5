//! What of a slice's rows is answered.

use hearth_kernels::elementwise::{add, scale, unit_length};
use hearth_kernels::pool::Chunks;
use hearth_program::arch::Register;

use super::{ROWS_AT_ONCE, Registers, Run};
use crate::lower::Pooled;

impl Run<'_> {
    /// Leaves the rows that are kept in front of the others.
    pub(super) fn keep(&mut self, at: Register, pooled: Pooled) {
        let (isa, width, slice) = (self.isa, self.width(at), self.slice);
        let rows = Registers::new(&mut self.numbers, self.widths, self.rows).take(at);
        let ends = match (&slice.texts, pooled) {
            (_, Pooled::Answered) => {
                // Rows move forward, past rows that have moved.
                for (to, from) in slice.answered.iter().enumerate() {
                    rows.copy_within(from * width..(from + 1) * width, to * width);
                }
                self.rows = slice.answered.len();
                return;
            }
            (Some(texts), Pooled::Mean | Pooled::First) => &texts.ends,
            (None, Pooled::Mean | Pooled::First) => panic!("refused when it was lowered"),
        };
        let mut first = 0;
        for (to, end) in ends.iter().enumerate() {
            if pooled == Pooled::Mean {
                let (sum, others) = rows[first * width..end * width].split_at_mut(width);
                others.chunks_exact(width).for_each(|row| add(isa, row, sum));
                scale(isa, 1.0 / (end - first) as f32, sum);
            }
            rows.copy_within(first * width..(first + 1) * width, to * width);
            first = *end;
        }
        self.rows = ends.len();
    }

    pub(super) fn unit_length(&mut self, at: Register) {
        let (pool, isa, width) = (self.pool, self.isa, self.width(at));
        let rows = Registers::new(&mut self.numbers, self.widths, self.rows).take(at);
        pool.over(Chunks::new(rows, ROWS_AT_ONCE * width), |_, rows, _| unit_length(isa, width, rows));
    }
}
