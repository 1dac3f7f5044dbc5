//! Made-up logits.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::api::SimulatedConfig;
use hearth_program::{Program, Row, Stage, StepError};
use hearth_text::tokenizer::Tokenizer;

use super::memory::Held;

/// Words among which temperature and seed choose.
const CANDIDATES: u64 = 8;

/// A program that answers words which depend on the prompt and on nothing else,
/// and ends after 16 to 63 of them.
#[derive(Debug)]
pub struct SimulatedProgram {
    a_decode_step: Duration,
    a_prompt_token: Duration,
    /// Tokens that read as words.
    words: Vec<u32>,
    end: Option<u32>,
    vocabulary: usize,
    _memory: Held,
}

/// What a simulated sequence remembers.
#[derive(Debug, Default)]
pub struct SimulatedCache {
    prompt: u64,
    taken: usize,
    answered: u64,
}

impl SimulatedProgram {
    pub(super) fn new(config: &SimulatedConfig, tokenizer: &Tokenizer, memory: Held) -> Self {
        Self {
            a_decode_step: Duration::from_secs_f64(1.0 / config.decode_tokens_per_second),
            a_prompt_token: Duration::from_secs_f64(1.0 / config.prefill_tokens_per_second),
            words: words(tokenizer),
            end: tokenizer.end_of_generation().first().copied(),
            vocabulary: tokenizer.vocabulary(),
            _memory: memory,
        }
    }

    fn logits(&self, cache: &SimulatedCache) -> Vec<f32> {
        let mut logits = vec![f32::NEG_INFINITY; self.vocabulary];
        let mut set = |id: u32, logit: f32| {
            if let Some(place) = logits.get_mut(id as usize) {
                *place = place.max(logit);
            }
        };
        for nth in 0..CANDIDATES {
            let word = hash((cache.prompt, cache.answered, nth)) as usize % self.words.len();
            set(self.words[word], -(nth as f32));
        }
        if let Some(end) = self.end
            && cache.answered == 16 + cache.prompt % 48
        {
            // Out of reach of every candidate at the highest temperature.
            set(end, 1e3);
        }
        logits
    }
}

impl Program for SimulatedProgram {
    type Cache = SimulatedCache;

    fn cache(&self) -> SimulatedCache {
        SimulatedCache::default()
    }

    fn step(&mut self, batch: &mut [Row<'_, SimulatedCache>]) -> Result<Vec<Option<Vec<f32>>>, StepError> {
        let mut takes = Duration::ZERO;
        if batch.iter().any(|row| row.stage == Stage::Decode) {
            takes += self.a_decode_step;
        }
        let mut answers = Vec::with_capacity(batch.len());
        for row in batch {
            let Row { cache, start, tokens, stage } = row;
            if *start != cache.taken {
                let message = format!("a row starts at {start} and its cache holds {}", cache.taken);
                return Err(StepError { message });
            }
            cache.taken += tokens.len();
            match stage {
                Stage::Prefill { .. } => {
                    cache.prompt = hash((cache.prompt, *tokens));
                    takes += self.a_prompt_token * u32::try_from(tokens.len()).unwrap_or(u32::MAX);
                }
                Stage::Decode => cache.answered += 1,
            }
            answers.push(stage.wants_logits().then(|| self.logits(cache)));
        }
        std::thread::sleep(takes);
        Ok(answers)
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
