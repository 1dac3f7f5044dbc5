//! Running operations on the rows of a slice.

mod attend;
mod linear;
mod mixture;
mod pooled;
mod routes;
mod rows;
mod scratch;

use hearth_kernels::isa::Isa;
use hearth_kernels::pool::Pool;
use hearth_program::Row;
use hearth_program::arch::Register;

use crate::kv::Kv;
use crate::load::Weights;
use crate::lower::{Op, Step};
use crate::slice::Slice;

pub(crate) use mixture::RoomNeeds;
pub(crate) use scratch::{Needs, Ropes, Scratch, registers};

/// Registers.
pub(crate) const REGISTERS: usize = Register::ALL.len();

/// Rows that are handed to a thread together where a row takes little.
const ROWS_AT_ONCE: usize = 16;

/// Rows of a panel of quantized rows.
const PANEL_ROWS: usize = 4;

/// A slice on its way through the model.
pub(crate) struct Run<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) isa: Isa,
    pub(crate) weights: &'a Weights,
    pub(crate) widths: &'a [usize; REGISTERS],
    pub(crate) kv: &'a mut Kv,
    pub(crate) batch: &'a [Row<'a>],
    pub(crate) slice: &'a Slice,
    pub(crate) scratch: &'a mut Scratch,
    /// The registers, each for all rows.
    pub(crate) numbers: [&'a mut [f32]; REGISTERS],
    /// Rows that the registers hold: those of the slice, then the answered ones.
    pub(crate) rows: usize,
}

impl Run<'_> {
    /// Runs operations in order.
    pub(crate) fn steps(&mut self, steps: &[Step]) {
        for Step { op, replaces: _ } in steps {
            match op {
                Op::Embed { table, out } => self.embed(*table, *out),
                Op::Norm { input, norm, out } => self.norm(*input, norm, *out),
                Op::AddRows { table, rows, out } => self.add_rows(*table, *rows, *out),
                Op::Linears(linears) => self.linears(linears),
                Op::Mixture(mixture) => self.mixture(mixture),
                Op::Rope { at, head_dim, rope } => self.rope(*at, *head_dim, *rope),
                Op::Place(place) => self.place(place),
                Op::Attend(attend) => self.attend(attend),
                Op::AttendRows(place, attend) => {
                    self.place(place);
                    self.attend(attend);
                }
                Op::Gate { activation, gate, out } => self.gate(*activation, *gate, *out),
                Op::Add { input, out } => self.add(*input, *out),
                Op::Map { at, map } => self.map(*at, *map),
                Op::Keep { at, pooled } => self.keep(*at, *pooled),
                Op::UnitLength { at } => self.unit_length(*at),
            }
        }
    }

    fn width(&self, register: Register) -> usize {
        self.widths[register as usize]
    }
}

/// The rows of registers, each of which can be taken once.
struct Registers<'a>([Option<&'a mut [f32]>; REGISTERS]);

impl<'a> Registers<'a> {
    /// The first `rows` rows of all.
    fn new(numbers: &'a mut [&mut [f32]; REGISTERS], widths: &[usize; REGISTERS], rows: usize) -> Self {
        let mut widths = widths.iter();
        Self(numbers.each_mut().map(|numbers| {
            let len = rows * widths.next().copied().unwrap_or(0);
            // That of the answers holds answered rows alone.
            let len = len.min(numbers.len());
            Some(&mut numbers[..len])
        }))
    }

    /// # Panics
    /// It was taken before: an operation's registers differ.
    fn take(&mut self, register: Register) -> &'a mut [f32] {
        let Some(numbers) = self.0[register as usize].take() else {
            panic!("{register:?} is used twice in an operation")
        };
        numbers
    }
}
