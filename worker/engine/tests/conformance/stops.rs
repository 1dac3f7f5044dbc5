//! Stop sequences.

use hearth_engine::{FinishReason, Request, Stop};

use crate::subject::{Answer, Subject, greedy};

const PROMPT: &str = "say something";
const TOKENS: u32 = 48;

fn ask(subject: &Subject, sequences: &[&str]) -> Answer {
    let sequences = sequences.iter().map(|sequence| (*sequence).to_owned()).collect();
    let stop = Stop { max_tokens: Some(TOKENS), sequences, ignore_eos: true, min_tokens: 0 };
    subject.ask(Request { stop, ..greedy(PROMPT, 0) }).answer()
}

/// Pieces of up to `len` characters of a text, from all over it.
fn pieces(text: &str, len: usize) -> Vec<&str> {
    let bounds = text.char_indices().map(|(at, _)| at).chain([text.len()]).collect::<Vec<_>>();
    let last = bounds.len().saturating_sub(len + 1);
    let starts = (0..=last).step_by((last / 6).max(1));
    starts.filter_map(|start| Some(&text[bounds[start]..*bounds.get(start + len)?])).collect()
}

/// The text ends before the sequence, of which no delta has held a part, and the
/// sequence is named.
pub(crate) fn stop_sequences_are_named_and_not_given_out(subject: Subject) {
    let whole = ask(&subject, &[]).text;
    for sequence in [1, 3, 9].into_iter().flat_map(|len| pieces(&whole, len)) {
        let answer = ask(&subject, &["\u{1}not in any text\u{1}", sequence]);
        let finish = answer.finished();
        assert_eq!(finish.reason, FinishReason::Stop);
        assert_eq!(finish.stop_sequence.as_deref(), Some(sequence));
        // Deltas are never taken back, so a part that leaked would be here.
        assert_eq!(Some(answer.text.as_str()), whole.split(sequence).next());
        assert!(finish.usage.completion_tokens <= TOKENS);
    }
}

/// Of two sequences, that which is complete first ends the output.
pub(crate) fn the_sequence_that_is_met_first_ends(subject: Subject) {
    let whole = ask(&subject, &[]).text;
    let pieces = pieces(&whole, 4);
    for pair in pieces.windows(2) {
        let end = |sequence: &str| whole.find(sequence).map(|at| at + sequence.len());
        let first = if end(pair[1]) < end(pair[0]) { pair[1] } else { pair[0] };
        for sequences in [[pair[0], pair[1]], [pair[1], pair[0]]] {
            let answer = ask(&subject, &sequences);
            assert_eq!(answer.finished().stop_sequence.as_deref(), Some(first));
            assert_eq!(Some(answer.text.as_str()), whole.split(first).next());
        }
    }
}

/// What was held back because it began like a sequence is given out when it goes
/// on differently, or when the output ends.
pub(crate) fn near_misses_are_given_out(subject: Subject) {
    let plain = ask(&subject, &[]);
    for begin in [1, 4, 12].into_iter().flat_map(|len| pieces(&plain.text, len)).chain([plain.text.as_str()])
    {
        let never = format!("{begin}\u{1}");
        if plain.text.contains(&never) {
            continue;
        }
        let answer = ask(&subject, &[&never]);
        assert_eq!(answer.text, plain.text);
        assert_eq!(answer.ids, plain.ids);
        assert_eq!(answer.end, plain.end);
    }
}
