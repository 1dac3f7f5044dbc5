//! What was measured, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::memory::Memory;
use super::plan::Work;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// From the command's start until the model answers, its first generation included.
    pub(super) load_seconds: f64,
    /// From the command's start to the first token of a short prompt.
    pub(super) first_token_seconds: f64,
    /// One a work, in the order they ran.
    pub(super) rows: Vec<Row>,
    /// At the end.
    pub(super) memory: Memory,
}

/// One work's repetitions.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub(super) work: Work,
    /// Of each repetition, in order.
    pub(super) seconds: Vec<f64>,
    /// Of the tokens that count.
    pub(super) tokens_per_second: Spread,
}

/// The middle and the ends of what repetitions gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Row {
    /// `seconds` of at least one repetition.
    pub(super) fn new(work: Work, seconds: &[f64]) -> Self {
        let counted = work.counted() as f64;
        let rates = seconds.iter().map(|s| counted / s).collect();
        Self { work, seconds: seconds.to_vec(), tokens_per_second: Spread::of(rates) }
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        let (low, high) = (at(values.len().saturating_sub(1) / 2), at(values.len() / 2));
        Self { median: f64::midpoint(low, high), min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load_seconds, first_token_seconds, rows, memory } = self;
        writeln!(f, "{:24} {:>10} {:>10} {:>10}  tokens/s", "", "median", "min", "max")?;
        for Row { work, seconds: _, tokens_per_second: Spread { median, min, max } } in rows {
            writeln!(f, "{:24} {median:>10.1} {min:>10.1} {max:>10.1}", work.to_string())?;
        }
        writeln!(f, "{:24} {load_seconds:>10.3} s", "loaded after")?;
        writeln!(f, "{:24} {first_token_seconds:>10.3} s", "first token after")?;
        let Memory { peak_resident_bytes, resident_bytes, model } = memory;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        for (name, bytes) in [("peak resident", *peak_resident_bytes), ("resident", *resident_bytes)] {
            if let Some(bytes) = bytes {
                writeln!(f, "{name:24} {:>10.1} MiB", mib(bytes))?;
            }
        }
        writeln!(f, "{:24} {:>10.1} MiB", "the model's share", mib(model.total()))
    }
}

#[cfg(test)]
mod tests {
    use hearth_model::Footprint;

    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let Spread { median, min, max } = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((median, min, max), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of(vec![7.0]), Spread { median: 7.0, min: 7.0, max: 7.0 });
        assert_eq!(Spread::of(vec![9.0, 1.0, 5.0]).median, 5.0);
    }

    #[test]
    fn a_row_counts_the_tokens_of_all_sequences() {
        let row = Row::new(Work::Batch { sequences: 8, prompt: 64, tokens: 100 }, &[2.0, 4.0]);
        assert_eq!(row.tokens_per_second, Spread { median: 300.0, min: 200.0, max: 400.0 });
    }

    fn report() -> Report {
        Report {
            load_seconds: 0.25,
            first_token_seconds: 0.5,
            rows: vec![
                Row::new(Work::Prefill { tokens: 512 }, &[0.5]),
                Row::new(Work::Decode { depth: 1024, tokens: 128 }, &[1.0, 2.0, 4.0]),
            ],
            memory: Memory {
                peak_resident_bytes: Some(3 << 20),
                resident_bytes: None,
                model: Footprint { weights: 1 << 20, kv: 1 << 20, activations: 0, overhead: 0 },
            },
        }
    }

    #[test]
    fn the_table_says_what_each_number_is() {
        insta::assert_snapshot!(report());
    }

    #[test]
    fn the_json_is_what_the_scripts_read() {
        insta::assert_snapshot!(serde_json::to_string(&report()).unwrap());
    }
}
