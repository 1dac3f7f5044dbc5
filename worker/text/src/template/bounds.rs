//! What a template may use.
//!
//! The interpreter counts steps, but one step can double a text, and a text that is
//! kept in a variable is never written. So every instruction that makes a value is
//! given a companion that pays for it out of one budget: sums and products are
//! replaced by functions that pay first, results of filters, methods and calls are
//! paid for when they are there, and raw text is written like any other value, so that
//! the writer sees it. What a single filter or method could make at once is checked
//! before, in [`helpers`](super::helpers) and [`methods`](super::methods).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use minijinja::machinery::{Instruction, Instructions};
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Steps of a rendering: enough for ten thousand messages through the longest
/// templates in use, and a few seconds at the most.
pub(super) const FUEL: u64 = 6_000_000;

/// Bytes that a rendering may make in all, in variables and in what it writes. A
/// template copies what it writes about six times on the way, so that this is 40 MB
/// of chat: many times what the longest contexts hold.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// How deep values may lie in each other. JSON schemas in tools come to ten or so.
pub(super) const DEPTH: usize = 100;

/// What a value costs beside its text.
const VALUE_BYTES: usize = 24;

pub(super) type Code<'s> = Instructions<'s>;
pub(super) type Blocks<'s> = BTreeMap<&'s str, Instructions<'s>>;

/// The functions behind operators. No template can call or replace them: their names
/// are none.
pub(super) const ADD: &str = "+";
pub(super) const MULTIPLY: &str = "*";
pub(super) const CONCATENATE: &str = "~";
pub(super) const NEST: &str = "[]";
pub(super) const PAY: &str = "()";

/// Bytes that are left to a rendering.
#[derive(Debug)]
pub(super) struct Budget(AtomicU64);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU64::new(MOST_BYTES))
    }
}

impl Budget {
    /// Pays for bytes that are about to be made.
    pub(super) fn pay(&self, bytes: usize) -> Result<(), Error> {
        let take = |left: u64| left.checked_sub(bytes as u64);
        match self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take) {
            Ok(_) => Ok(()),
            Err(_) => Err(refuse(format!("the chat template makes more than {MOST_BYTES} bytes"))),
        }
    }

    /// Pays for `times` as many bytes.
    pub(super) fn pay_times(&self, bytes: usize, times: usize) -> Result<(), Error> {
        self.pay(bytes.saturating_mul(times))
    }

    /// Pays for a value that was made: its text, or the places of its items.
    pub(super) fn pay_for(&self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::String | ValueKind::Bytes => self.pay(value.len().unwrap_or(0)),
            ValueKind::Seq | ValueKind::Map => self.pay_times(VALUE_BYTES, value.len().unwrap_or(0)),
            _ => Ok(()),
        }
    }

    /// Pays for a look at all that lies in a value, which must not be deeper than
    /// [`DEPTH`].
    pub(super) fn look_through(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH {
            return Err(refuse(format!("the chat template nests values deeper than {DEPTH}")));
        }
        match value.kind() {
            ValueKind::Seq => {
                self.pay_for(value)?;
                value.try_iter()?.try_for_each(|item| self.look_through(&item, depth + 1))
            }
            ValueKind::Map => {
                self.pay_for(value)?;
                value.try_iter()?.try_for_each(|key| match value.get_item(&key) {
                    Ok(item) => self.look_through(&item, depth + 1),
                    Err(_) => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }
}

/// An error that is told as it is written.
pub(super) fn refuse(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// The same code, with everything that makes a value paid for.
pub(super) fn bounded<'s>(code: &Code<'s>, source: &'s str) -> Code<'s> {
    let all = (0..).map_while(|at| code.get(at)).collect::<Vec<_>>();
    let mut places = Vec::with_capacity(all.len() + 1);
    let mut next = 0u32;
    for instruction in &all {
        places.push(next);
        next += if companion(instruction).is_some() { 2 } else { 1 };
    }
    places.push(next);
    let place = |old: u32| places.get(old as usize).copied().unwrap_or(next);
    let mut bounded = Instructions::new(code.name(), source);
    for (at, instruction) in (0u32..).zip(&all) {
        let mut add = |instruction| match code.get_span(at) {
            Some(span) => bounded.add_with_span(instruction, span),
            None => {
                let line = code.get_line(at).and_then(|line| u16::try_from(line).ok());
                bounded.add_with_line(instruction, line.unwrap_or(0))
            }
        };
        add(replaced(instruction, place));
        companion(instruction).into_iter().for_each(|instruction| {
            add(instruction);
        });
    }
    bounded
}

fn replaced<'s>(instruction: &Instruction<'s>, place: impl Fn(u32) -> u32) -> Instruction<'s> {
    use Instruction as I;
    match instruction {
        I::Add => I::CallFunction(ADD, Some(2)),
        I::Mul => I::CallFunction(MULTIPLY, Some(2)),
        I::StringConcat => I::CallFunction(CONCATENATE, Some(2)),
        I::EmitRaw(text) => I::LoadConst(Value::from(*text)),
        I::Iterate(to) => I::Iterate(place(*to)),
        I::Jump(to) => I::Jump(place(*to)),
        I::JumpIfFalse(to) => I::JumpIfFalse(place(*to)),
        I::JumpIfFalseOrPop(to) => I::JumpIfFalseOrPop(place(*to)),
        I::JumpIfTrueOrPop(to) => I::JumpIfTrueOrPop(place(*to)),
        I::BuildMacro(name, to, flags) => I::BuildMacro(name, place(*to), *flags),
        other => other.clone(),
    }
}

/// What comes behind an instruction.
fn companion<'s>(instruction: &Instruction<'s>) -> Option<Instruction<'s>> {
    use Instruction as I;
    match instruction {
        I::EmitRaw(_) => Some(I::Emit),
        I::BuildList(_) | I::BuildTuple(_) | I::BuildMap(_) => Some(I::CallFunction(NEST, Some(1))),
        // They make namespaces and dictionaries out of what they are given.
        I::CallFunction("namespace" | "dict", _) => Some(I::CallFunction(NEST, Some(1))),
        I::ApplyFilter(..) | I::CallMethod(..) | I::CallFunction(..) | I::CallObject(_) | I::Slice => {
            Some(I::CallFunction(PAY, Some(1)))
        }
        _ => None,
    }
}
