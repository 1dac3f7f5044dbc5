//! Made-up logits.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::api::SimulatedConfig;
use hearth_program::{Answers, Output, PAGE_TOKENS, PageId, PageLayout, Program, Row, Stage, StepError};
use hearth_text::tokenizer::Tokenizer;

use super::memory::Held;

/// Words among which temperature and seed choose.
const CANDIDATES: u64 = 8;

/// A program that answers words which depend on the tokens before them and on
/// nothing else, and ends after 16 to 63 of them.
///
/// What it knows of a sequence is kept in pages, a state a position, as others
/// keep keys and values there: a table that is wrong shows in the words.
#[derive(Debug)]
pub struct SimulatedProgram {
    a_decode_step: Duration,
    a_prompt_token: Duration,
    /// Tokens that read as words, rising.
    words: Vec<u32>,
    end: Option<u32>,
    vocabulary: usize,
    layout: PageLayout,
    /// Made when they are first written, a list a group.
    pages: Vec<Vec<Option<Box<[State; PAGE_TOKENS]>>>>,
    _memory: Held,
}

/// What the tokens up to a position come to.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// A hash of all of them.
    text: u64,
    /// That hash as it was at the last token that is no word: what is answered to.
    question: u64,
    /// Words since then.
    words: u64,
}

impl SimulatedProgram {
    pub(super) fn new(
        config: &SimulatedConfig,
        tokenizer: &Tokenizer,
        layout: PageLayout,
        memory: Held,
    ) -> Self {
        let pages = layout.groups.iter().map(|group| vec![None; group.pages]).collect();
        Self {
            a_decode_step: Duration::from_secs_f64(1.0 / config.decode_tokens_per_second),
            a_prompt_token: Duration::from_secs_f64(1.0 / config.prefill_tokens_per_second),
            words: words(tokenizer),
            end: tokenizer.end_of_generation().first().copied(),
            vocabulary: tokenizer.vocabulary(),
            layout,
            pages,
            _memory: memory,
        }
    }

    /// The state at `position`, from the pages that every group's table names. They
    /// have to agree: each group is written and read like any other.
    fn state(&self, tables: &[Vec<PageId>], position: usize) -> Result<State, StepError> {
        let mut states = self.pages.iter().zip(tables).map(|(pages, table)| {
            let page = table.get(position / PAGE_TOKENS).and_then(|id| pages.get(id.index()?)?.as_deref());
            page.map(|page| page[position % PAGE_TOKENS])
        });
        let nothing = || StepError { message: format!("a row's pages hold nothing at {position}") };
        let first = states.next().flatten().ok_or_else(nothing)?;
        if states.all(|state| state.is_some_and(|state| state.text == first.text)) {
            Ok(first)
        } else {
            Err(StepError { message: format!("a row's tables differ at {position}") })
        }
    }

    fn write(&mut self, tables: &[Vec<PageId>], position: usize, state: State) {
        for (pages, table) in self.pages.iter_mut().zip(tables) {
            let page = table.get(position / PAGE_TOKENS).and_then(|id| pages.get_mut(id.index()?));
            if let Some(page) = page {
                page.get_or_insert_default()[position % PAGE_TOKENS] = state;
            }
        }
    }

    fn after(&self, before: State, token: u32) -> State {
        let text = hash((before.text, token));
        if self.words.binary_search(&token).is_ok() {
            State { text, words: before.words + 1, ..before }
        } else {
            State { text, question: text, words: 0 }
        }
    }

    fn logits(&self, state: State, logits: &mut [f32]) {
        logits.fill(f32::NEG_INFINITY);
        let mut set = |id: u32, logit: f32| {
            if let Some(place) = logits.get_mut(id as usize) {
                *place = place.max(logit);
            }
        };
        for nth in 0..CANDIDATES {
            let word = hash((state.question, state.words, nth)) as usize % self.words.len();
            set(self.words[word], -(nth as f32));
        }
        // A prompt of words alone may be longer than any answer.
        let length = 16 + state.question % 48;
        if let Some(end) = self.end
            && state.words > 0
            && state.words.is_multiple_of(length)
        {
            // Out of reach of every candidate at the highest temperature.
            set(end, 1e3);
        }
    }

    /// Takes a row's tokens, and writes its answers to `logits`.
    fn take(&mut self, row: &Row<'_>, logits: &mut [f32]) -> Result<(), StepError> {
        let Row { tables, start, tokens, stage: _ } = *row;
        self.layout.check(row)?;
        let mut state = match start.checked_sub(1) {
            Some(before) => self.state(tables, before)?,
            None => State::default(),
        };
        let silent = tokens.len() - row.answers();
        let mut logits = logits.chunks_mut(self.vocabulary);
        for (nth, token) in tokens.iter().enumerate() {
            state = self.after(state, *token);
            self.write(tables, start + nth, state);
            if nth >= silent
                && let Some(logits) = logits.next()
            {
                self.logits(state, logits);
            }
        }
        Ok(())
    }
}

impl Program for SimulatedProgram {
    fn pages(&self) -> &PageLayout {
        &self.layout
    }

    fn output(&self) -> Output {
        Output::Logits { vocabulary: self.vocabulary }
    }

    fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError> {
        let mut takes = Duration::ZERO;
        if batch.iter().any(|row| row.stage == Stage::Decode) {
            takes += self.a_decode_step;
        }
        let mut logits = answers.prepare(self.vocabulary, batch);
        for row in batch {
            let (of_row, rest) = logits.split_at_mut(row.answers() * self.vocabulary);
            self.take(row, of_row)?;
            logits = rest;
            if let Stage::Prefill { .. } = row.stage {
                takes += self.a_prompt_token * u32::try_from(row.tokens.len()).unwrap_or(u32::MAX);
            }
        }
        std::thread::sleep(takes);
        Ok(())
    }
}

/// Tokens that are a space and some letters; where a vocabulary has only a few,
/// tokens of letters and spaces, and else all that do not end a generation.
fn words(tokenizer: &Tokenizer) -> Vec<u32> {
    const A_FEW: usize = 64;
    let is_word = |bytes: &[u8]| {
        let letters = bytes.strip_prefix(b" ");
        letters.is_some_and(|l| l.len() > 1 && l.iter().all(u8::is_ascii_lowercase))
    };
    let is_text =
        |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_lowercase() || *b == b' ');
    let ids = 0..u32::try_from(tokenizer.vocabulary()).unwrap_or(u32::MAX);
    let of = |fits: &dyn Fn(u32) -> bool| ids.clone().filter(|id| fits(*id)).collect::<Vec<_>>();
    let words = of(&|id| is_word(tokenizer.bytes_of(id)));
    if words.len() >= A_FEW {
        return words;
    }
    let text = of(&|id| is_text(tokenizer.bytes_of(id)));
    if !text.is_empty() {
        return text;
    }
    let others = of(&|id| !tokenizer.ends_generation(id));
    if others.is_empty() { vec![0] } else { others }
}

/// The same in every process: `DefaultHasher::new` has fixed keys.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
