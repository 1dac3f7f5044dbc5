//! What a request says about choosing tokens.

use crate::wrong::Wrong;

/// Alternatives that a request may ask for beside each token.
pub const MAX_LOGPROBS: u32 = 20;
/// Tokens whose logits a request may change.
pub const MAX_LOGIT_BIASES: usize = 1024;
/// Sequence breakers that a request may name.
pub const MAX_BREAKERS: usize = 32;
/// Bytes of one sequence breaker.
pub const MAX_BREAKER_BYTES: usize = 64;

/// How tokens are chosen. The order in which the fields apply is the crate's,
/// see [the crate's page](crate).
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy. 0 to 2.
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probabilities reach this sum.
    /// Over 0, up to 1.
    pub top_p: f32,
    /// Drop tokens less likely than this fraction of the likeliest. 0 to 1.
    pub min_p: f32,
    /// Keep the tokens whose information is nearest to what is expected of the
    /// next one, until their probabilities reach this sum. Over 0, up to 1,
    /// which keeps all.
    pub typical_p: f32,
    /// Divides the logit of a token that prompt or output hold, or multiplies
    /// it where it is negative. Over 0, up to 10; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken off the logit of a token that the output holds. -2 to 2.
    pub presence_penalty: f32,
    /// Taken off the logit of a token for each time that the output holds it.
    /// -2 to 2.
    pub frequency_penalty: f32,
    /// How many of the last tokens the three penalties look at; 0 is all.
    pub penalty_window: u32,
    /// Against repeating whole sequences.
    pub dry: Dry,
    /// Added to the logits of tokens. At most [`MAX_LOGIT_BIASES`], each from
    /// -100 to 100.
    pub logit_bias: Vec<LogitBias>,
    /// Tell the log probability of each token, and of this many of the
    /// likeliest in its place; at most [`MAX_LOGPROBS`].
    pub logprobs: Option<u32>,
    /// The same seed, prompt and model give the same output. Absent: random.
    pub seed: Option<u64>,
}

/// Taken off the logit of a token that would prolong a repetition: one that
/// followed where the last tokens of the text stood before.
///
/// If the last `n` tokens stood before, and `n` is at least `allowed_length`, it
/// is `multiplier * base^(n - allowed_length)`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dry {
    /// 0 turns it off. 0 to 100.
    pub multiplier: f32,
    /// 1 to 10.
    pub base: f32,
    /// The longest sequence that may be repeated freely, in tokens; at least 1.
    pub allowed_length: u32,
    /// How many of the last tokens it looks at; 0 is all.
    pub window: u32,
    /// Texts over which no repetition reaches. At most [`MAX_BREAKERS`], none
    /// empty, each of at most [`MAX_BREAKER_BYTES`].
    pub breakers: Vec<String>,
}

/// A number that is added to a token's logit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitBias {
    /// Which token.
    pub id: u32,
    /// -100 to 100; the ends come to never and always.
    pub bias: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            typical_p: 1.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            penalty_window: 0,
            dry: Dry::default(),
            logit_bias: Vec::new(),
            logprobs: None,
            seed: None,
        }
    }
}

impl Default for Dry {
    /// Off; the other numbers are those that its inventor proposes.
    fn default() -> Self {
        Self {
            multiplier: 0.0,
            base: 1.75,
            allowed_length: 2,
            window: 0,
            breakers: ["\n", ":", "\"", "*"].map(str::to_owned).to_vec(),
        }
    }
}

impl Sampling {
    /// The likeliest token, always.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Looks at everything that does not need the model.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn check(&self) -> Result<(), Wrong> {
        let Self {
            temperature,
            top_k: _,
            top_p,
            min_p,
            typical_p,
            repetition_penalty,
            presence_penalty,
            frequency_penalty,
            penalty_window: _,
            dry,
            logit_bias,
            logprobs,
            seed: _,
        } = self;
        // A NaN is in no range, so each test asks for membership.
        let share = |x: f32| x > 0.0 && x <= 1.0;
        let signed = |x: f32| (-2.0..=2.0).contains(&x);
        let numbers = [
            (
                "sampling.temperature",
                *temperature,
                (0.0..=2.0).contains(temperature),
                "give a number from 0 (greedy) to 2",
            ),
            ("sampling.top_p", *top_p, share(*top_p), "give a number over 0, up to 1 (1 keeps all tokens)"),
            (
                "sampling.min_p",
                *min_p,
                (0.0..=1.0).contains(min_p),
                "give a number from 0 (keeps all tokens) to 1",
            ),
            (
                "sampling.typical_p",
                *typical_p,
                share(*typical_p),
                "give a number over 0, up to 1 (1 keeps all tokens)",
            ),
            (
                "sampling.repetition_penalty",
                *repetition_penalty,
                *repetition_penalty > 0.0 && *repetition_penalty <= 10.0,
                "give a number over 0, up to 10 (1 changes nothing)",
            ),
            (
                "sampling.presence_penalty",
                *presence_penalty,
                signed(*presence_penalty),
                "give a number from -2 to 2",
            ),
            (
                "sampling.frequency_penalty",
                *frequency_penalty,
                signed(*frequency_penalty),
                "give a number from -2 to 2",
            ),
        ];
        for (field, value, good, message) in numbers {
            if !good {
                return Err(Wrong::new(field, value, message));
            }
        }
        dry.check()?;
        check_bias(logit_bias)?;
        match logprobs {
            Some(count) if *count > MAX_LOGPROBS => {
                Err(Wrong::new("sampling.logprobs", count, &format!("ask for at most {MAX_LOGPROBS}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a penalty changes anything.
    pub(crate) fn penalizes(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }
}

impl Dry {
    fn check(&self) -> Result<(), Wrong> {
        let Self { multiplier, base, allowed_length, window: _, breakers } = self;
        if !(0.0..=100.0).contains(multiplier) {
            return Err(Wrong::new(
                "sampling.dry.multiplier",
                multiplier,
                "give a number from 0 (off) to 100",
            ));
        }
        if !(1.0..=10.0).contains(base) {
            return Err(Wrong::new("sampling.dry.base", base, "give a number from 1 to 10"));
        }
        if *allowed_length == 0 {
            return Err(Wrong::new("sampling.dry.allowed_length", 0, "give at least 1"));
        }
        let field = "sampling.dry.sequence_breakers";
        if breakers.len() > MAX_BREAKERS {
            let most = format!("give at most {MAX_BREAKERS}");
            return Err(Wrong::new(field, format!("{} texts", breakers.len()), &most));
        }
        for (at, breaker) in breakers.iter().enumerate() {
            if breaker.is_empty() {
                return Err(Wrong::new(field, format!("empty at index {at}"), "leave empty texts out"));
            }
            if breaker.len() > MAX_BREAKER_BYTES {
                let value = format!("{} bytes long at index {at}", breaker.len());
                return Err(Wrong::new(field, value, &format!("give at most {MAX_BREAKER_BYTES} bytes")));
            }
        }
        Ok(())
    }
}

fn check_bias(biases: &[LogitBias]) -> Result<(), Wrong> {
    let field = "sampling.logit_bias";
    if biases.len() > MAX_LOGIT_BIASES {
        let most = format!("give at most {MAX_LOGIT_BIASES}");
        return Err(Wrong::new(field, format!("{} entries", biases.len()), &most));
    }
    match biases.iter().find(|LogitBias { id: _, bias }| !(-100.0..=100.0).contains(bias)) {
        Some(LogitBias { id, bias }) => {
            Err(Wrong::new(field, format!("{bias} for token {id}"), "give a number from -100 to 100"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Dry, LogitBias, Sampling};

    fn field(edit: impl FnOnce(&mut Sampling)) -> Option<&'static str> {
        let mut sampling = Sampling::default();
        edit(&mut sampling);
        sampling.check().err().map(|wrong| wrong.field)
    }

    #[test]
    fn defaults_are_valid() {
        assert_eq!(field(|_| {}), None);
        assert_eq!(field(|s| *s = Sampling::greedy()), None);
    }

    #[test]
    fn numbers_out_of_range_name_their_field() {
        type Break = fn(&mut Sampling, f32);
        let cases: [(&str, &[f32], Break); 9] = [
            ("sampling.temperature", &[-0.1, 2.1, f32::NAN, f32::INFINITY], |s, v| s.temperature = v),
            ("sampling.top_p", &[0.0, -1.0, 1.1, f32::NAN], |s, v| s.top_p = v),
            ("sampling.min_p", &[-0.1, 1.1, f32::NAN], |s, v| s.min_p = v),
            ("sampling.typical_p", &[0.0, 1.1, f32::NAN], |s, v| s.typical_p = v),
            ("sampling.repetition_penalty", &[0.0, -1.0, 10.5, f32::NAN], |s, v| s.repetition_penalty = v),
            ("sampling.presence_penalty", &[-2.1, 2.1, f32::NAN], |s, v| s.presence_penalty = v),
            ("sampling.frequency_penalty", &[-2.1, 2.1, f32::NAN], |s, v| s.frequency_penalty = v),
            ("sampling.dry.multiplier", &[-0.1, 100.5, f32::NAN], |s, v| s.dry.multiplier = v),
            ("sampling.dry.base", &[0.9, 10.5, f32::NAN], |s, v| s.dry.base = v),
        ];
        for (name, values, set) in cases {
            for &value in values {
                assert_eq!(field(|s| set(s, value)), Some(name), "{value}");
            }
        }
    }

    #[test]
    fn lists_out_of_range_name_their_field() {
        assert_eq!(field(|s| s.logprobs = Some(20)), None);
        assert_eq!(field(|s| s.logprobs = Some(21)), Some("sampling.logprobs"));
        let bias = |id, bias| LogitBias { id, bias };
        assert_eq!(field(|s| s.logit_bias = vec![bias(0, 100.0)]), None);
        for biases in [vec![bias(0, 100.5)], vec![bias(7, f32::NAN)], vec![bias(1, 1.0); 1025]] {
            assert_eq!(field(|s| s.logit_bias = biases), Some("sampling.logit_bias"));
        }
        for breakers in [vec![String::new()], vec!["a".into(); 33], vec!["a".repeat(65)]] {
            let name = "sampling.dry.sequence_breakers";
            assert_eq!(field(|s| s.dry = Dry { breakers, ..Dry::default() }), Some(name));
        }
        assert_eq!(field(|s| s.dry.allowed_length = 0), Some("sampling.dry.allowed_length"));
    }
}
