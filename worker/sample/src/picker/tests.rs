use std::sync::Arc;

use proptest::prelude::*;

use super::{Next, PickError, Picked, Picker, Plan, Workspace};
use crate::constraint::{Constraint, ConstraintError};
use crate::testing::Letters;
use crate::{Dry, LogitBias, Sampling, TokenMask};

/// Allows a fixed text, letter by letter, and an end where it says so.
#[derive(Debug)]
struct Script {
    text: Vec<u32>,
    ends_at: Vec<usize>,
    at: usize,
    mask: TokenMask,
}

impl Script {
    fn boxed(text: &str, ends_at: &[usize]) -> Box<dyn Constraint> {
        Box::new(Self {
            text: Letters::ids(text),
            ends_at: ends_at.to_vec(),
            at: 0,
            mask: TokenMask::default(),
        })
    }
}

impl Constraint for Script {
    fn mask(&mut self) -> Result<&TokenMask, ConstraintError> {
        let next = self.text.get(self.at).copied();
        let end = self.ends_at.contains(&self.at).then_some(Letters::END);
        self.mask = next.into_iter().chain(end).collect();
        Ok(&self.mask)
    }

    fn accept(&mut self, id: u32) -> Result<(), ConstraintError> {
        if self.text.get(self.at) != Some(&id) {
            return Err(ConstraintError { message: format!("{id} at {}", self.at) });
        }
        self.at += 1;
        Ok(())
    }

    fn may_end(&mut self) -> bool {
        self.ends_at.contains(&self.at)
    }

    fn must_end(&self) -> bool {
        self.at == self.text.len()
    }
}

fn picker(plan: Plan) -> Picker {
    Picker::new(plan, Arc::new(Letters)).unwrap()
}

/// Logits that prefer the end, then `z`, and so on down.
fn rising() -> Vec<f32> {
    (0..27).map(|n| n as f32).collect()
}

/// Generates until something ends it.
fn generate(mut picker: Picker, prompt: &str, limit: usize) -> (String, Result<Option<u32>, PickError>) {
    let prompt = Letters::ids(prompt);
    let mut text = prompt.clone();
    let mut workspace = Workspace::default();
    let letters = |text: &[u32]| text[prompt.len()..].iter().map(|id| Letters::char(*id)).collect::<String>();
    while text.len() - prompt.len() < limit {
        match picker.pick(&mut rising(), &text, &mut workspace) {
            Err(error) => return (letters(&text), Err(error)),
            Ok(None) => return (letters(&text), Ok(None)),
            Ok(Some(Picked { id, .. })) if id == Letters::END => return (letters(&text), Ok(Some(id))),
            Ok(Some(Picked { id, .. })) => {
                text.push(id);
                match picker.accept(id) {
                    Ok(Next::Token) => {}
                    Ok(Next::Nothing) => return (letters(&text), Ok(None)),
                    Err(error) => return (letters(&text), Err(error)),
                }
            }
        }
    }
    (letters(&text), Ok(Some(0)))
}

fn greedy() -> Sampling {
    Sampling::greedy()
}

#[test]
fn nothing_that_is_a_number_is_told() {
    let mut picker = picker(Plan::default());
    let mut pick = |logits: &mut [f32]| picker.pick(logits, &[0], &mut Workspace::default());
    assert_eq!(pick(&mut [f32::NAN; 27]), Err(PickError::NotANumber));
    assert_eq!(pick(&mut []), Err(PickError::NotANumber));
}

#[test]
fn biases_count_and_are_within_the_vocabulary() {
    let biased = |id, bias| Sampling { logit_bias: vec![LogitBias { id, bias }], ..greedy() };
    let plan = |sampling| Plan { sampling, prompt_len: 1, ..Plan::default() };
    let (text, _) = generate(picker(plan(biased(2, 100.0))), "a", 2);
    assert_eq!(text, "cc");
    let wrong = Picker::new(plan(biased(27, 1.0)), Arc::new(Letters)).unwrap_err();
    assert_eq!(wrong.to_string(), "`sampling.logit_bias` is for token 27: the vocabulary's last id is 26");
}

#[test]
fn an_output_is_as_long_as_was_asked() {
    let plan = |min_tokens| Plan { sampling: greedy(), prompt_len: 2, min_tokens, ..Plan::default() };
    assert_eq!(generate(picker(plan(0)), "ab", 9), (String::new(), Ok(Some(Letters::END))));
    assert_eq!(generate(picker(plan(3)), "ab", 9), ("zzz".into(), Ok(Some(Letters::END))));
}

#[test]
fn an_end_that_is_ignored_is_a_token() {
    let mut picker = picker(Plan { sampling: greedy(), ignore_ends: true, min_tokens: 5, ..Plan::default() });
    let picked = picker.pick(&mut rising(), &[], &mut Workspace::default()).unwrap().unwrap();
    assert_eq!(picked.id, Letters::END);
    assert!(!picker.is_end(Letters::END));
    assert_eq!(picker.accept(Letters::END), Ok(Next::Token));
}

#[test]
fn a_constraint_decides_what_comes_and_when_it_ends() {
    let plan = |constraint| Plan {
        sampling: greedy(),
        prompt_len: 1,
        constraint: Some(constraint),
        ..Plan::default()
    };
    assert_eq!(generate(picker(plan(Script::boxed("abc", &[3]))), "q", 9), ("abc".into(), Ok(None)));
    // The end is likelier than what could follow.
    let (text, end) = generate(picker(plan(Script::boxed("abc", &[2, 3]))), "q", 9);
    assert_eq!((text.as_str(), end), ("ab", Ok(Some(Letters::END))));
    // Nothing at all is an output too.
    assert_eq!(generate(picker(plan(Script::boxed("", &[0]))), "q", 9).1, Ok(Some(Letters::END)));
    // No way on, and no end.
    assert_eq!(generate(picker(plan(Script::boxed("", &[]))), "q", 9).1, Err(PickError::DeadEnd));
}

#[test]
fn a_constraint_goes_on_where_an_end_may_not_come() {
    let plan = |ignore_ends, min_tokens, text, ends_at: &[usize]| Plan {
        sampling: greedy(),
        constraint: Some(Script::boxed(text, ends_at)),
        ignore_ends,
        min_tokens,
        ..Plan::default()
    };
    assert_eq!(generate(picker(plan(true, 0, "abc", &[1, 2, 3])), "", 9), ("abc".into(), Ok(None)));
    assert_eq!(generate(picker(plan(false, 2, "abc", &[1, 2, 3])), "", 9).0, "ab");
    // What is complete ends, however short it is.
    assert_eq!(generate(picker(plan(false, 9, "ab", &[2])), "", 9), ("ab".into(), Ok(None)));
    assert_eq!(generate(picker(plan(true, 0, "", &[0])), "", 9), (String::new(), Ok(None)));
}

#[test]
fn logprobs_are_the_models_own() {
    let sampling = Sampling {
        logit_bias: vec![LogitBias { id: 0, bias: 100.0 }],
        logprobs: Some(2),
        temperature: 0.1,
        ..Sampling::default()
    };
    let mut picker = picker(Plan { sampling, ..Plan::default() });
    // Probabilities 0.1, 0.6, 0.3.
    let mut logits = [0.1f32.ln(), 0.6f32.ln(), 0.3f32.ln()];
    let picked = picker.pick(&mut logits, &[], &mut Workspace::default()).unwrap().unwrap();
    let logprobs = picked.logprobs.unwrap();
    assert_eq!(picked.id, 0);
    assert!((logprobs.picked.exp() - 0.1).abs() < 1e-5);
    let top = logprobs.top.iter().map(|(id, p)| (*id, (p.exp() * 10.0).round())).collect::<Vec<_>>();
    assert_eq!(top, [(1, 6.0), (2, 3.0)]);
}

fn any_sampling() -> impl Strategy<Value = Sampling> {
    let filters = (0.0f32..2.0, 0u32..30, 0.05f32..=1.0, 0.0f32..1.0, 0.05f32..=1.0);
    let penalties = (0.5f32..2.0, -2.0f32..2.0, -2.0f32..2.0, 0u32..10);
    (filters, penalties, 0.0f32..2.0, prop::option::of(0u32..=20), any::<u64>()).prop_map(
        |((temperature, top_k, top_p, min_p, typical_p), penalties, multiplier, logprobs, seed)| {
            let (repetition_penalty, presence_penalty, frequency_penalty, penalty_window) = penalties;
            Sampling {
                temperature,
                top_k,
                top_p,
                min_p,
                typical_p,
                repetition_penalty,
                presence_penalty,
                frequency_penalty,
                penalty_window,
                dry: Dry { multiplier, ..Dry::default() },
                logit_bias: vec![LogitBias { id: 3, bias: 1.0 }],
                logprobs,
                seed: Some(seed),
            }
        },
    )
}

proptest! {
    /// What makes preemption, continuing elsewhere and speculation exact.
    #[test]
    fn a_picker_that_is_made_anew_goes_on_the_same(
        sampling in any_sampling(),
        text in prop::collection::vec(0u32..26, 1..40),
        prompt_len in 0usize..10,
        logits in prop::collection::vec(-5.0f32..5.0, 27),
        constrained: bool,
    ) {
        let prompt_len = prompt_len.min(text.len());
        let script = text[prompt_len..].iter().map(|id| Letters::char(*id)).collect::<String>() + "xyz";
        let make = |spare_seed| picker(Plan {
            sampling: sampling.clone(),
            spare_seed,
            prompt_len,
            min_tokens: 5,
            ignore_ends: false,
            constraint: constrained.then(|| Script::boxed(&script, &[])),
        });
        let mut workspace = Workspace::default();
        let mut grown = make(1);
        for len in prompt_len..text.len() {
            grown.pick(&mut logits.clone(), &text[..len], &mut workspace).unwrap();
            grown.accept(text[len]).unwrap();
        }
        let first = grown.pick(&mut logits.clone(), &text, &mut workspace).unwrap();
        let mut anew = make(2);
        anew.prepare(&text).unwrap();
        let second = anew.pick(&mut logits.clone(), &text, &mut Workspace::default()).unwrap();
        prop_assert_eq!(&first, &second);
        let picked = first.unwrap();
        prop_assert!(picked.id < 27);
        prop_assert_eq!(picked.logprobs.is_some(), sampling.logprobs.is_some());
        if constrained {
            prop_assert_eq!(Letters::char(picked.id), 'x');
        }
    }
}
