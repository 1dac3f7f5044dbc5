//! A batcher and everything that was heard from it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_model::testing::TinyLlama;
use hearth_model::{KvType, Model, Shape, gguf};
use hearth_program::{PAGE_TOKENS, PageLayout, Program};
use hearth_sample::{Picker, Plan, Sampling};
use hearth_text::TextModel;

use crate::api::{Cancel, Outlet};
use crate::batch::{Batcher, Health, Job, Limits};
use crate::reader::Tokens;
use crate::{FinishReason, Gone, Item, RequestError, Stop};

use super::script::{Costs, DECODED, Log, Next, Script, Seen};

pub(super) const CONTEXT: usize = 512;
/// Ends a generation.
pub(super) const END: u32 = 2;
/// The token of byte 0.
pub(super) const BYTES: u32 = 3;

/// A batcher and its requests.
pub(super) struct Bench<P: Program = Script> {
    pub(super) batcher: Batcher<P>,
    pub(super) requests: Vec<Asked>,
    pub(super) log: Log,
    /// What the last step said.
    pub(super) health: Health,
}

/// What to build.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    /// Sequences that there is memory for, each with its whole context.
    pub(super) sequences: u32,
    /// Sequences that run at a time.
    pub(super) places: usize,
    /// Of groups of layers beside the one that sees everything.
    pub(super) windows: Vec<usize>,
    pub(super) context: usize,
    pub(super) stages_differ: bool,
    pub(super) prefill_rows: usize,
    pub(super) step: Duration,
    pub(super) pace: f64,
    pub(super) costs: Costs,
    pub(super) next: Next,
}

impl Setup {
    pub(super) fn new(places: usize, next: Next) -> Self {
        Self {
            sequences: places as u32,
            places,
            windows: Vec::new(),
            context: CONTEXT,
            stages_differ: false,
            prefill_rows: 1,
            step: Duration::from_secs(1),
            pace: f64::INFINITY,
            costs: Costs::default(),
            next,
        }
    }

    pub(super) fn build(&self) -> Bench {
        let Self { sequences, places, windows, context, prefill_rows, costs, next, .. } = self;
        let Self { stages_differ, step, pace, .. } = self;
        let tiny = TinyLlama { context_length: *context as u32, ..TinyLlama::new(1) };
        let bytes = tiny.builder().build();
        let gguf::Progress::Done(header) = gguf::parse(&bytes, Some(bytes.len() as u64)).unwrap() else {
            panic!("the whole file was there");
        };
        let text = TextModel::new(&Model::from_gguf(&header).unwrap(), *context as u32).unwrap();
        let shape = Shape { context_tokens: *context as u32, sequences: *sequences, kv_type: KvType::F16 };
        let windows = std::iter::once(None).chain(windows.iter().copied().map(Some));
        let layout = PageLayout::new(windows, &shape);
        let mut program = Script::new(*next, text.tokenizer().vocabulary(), layout);
        program.stages_differ = *stages_differ;
        program.prefill_rows = *prefill_rows;
        program.costs = *costs;
        let log = program.log.clone();
        let limits = Limits { places: *places, step: *step, pace: *pace };
        Bench::of(program, text, limits, log)
    }

    /// What a request says when nothing comes between.
    pub(super) fn alone(&self, prompt: &[u32], max_tokens: usize) -> (Vec<u32>, FinishReason) {
        let mark = if self.stages_differ { DECODED } else { 0 };
        let mut tokens = prompt.to_vec();
        let room = max_tokens.min(self.context - prompt.len());
        let output = |tokens: Vec<u32>| tokens[prompt.len()..].iter().map(|token| token & !DECODED).collect();
        while tokens.len() < prompt.len() + room {
            match (self.next)(&tokens) {
                END => return (output(tokens), FinishReason::Stop),
                token => tokens.push(token | mark),
            }
        }
        (output(tokens), FinishReason::Length)
    }
}

/// A request that was submitted.
pub(super) struct Asked {
    pub(super) prompt: Vec<u32>,
    pub(super) items: Arc<Mutex<Vec<Item>>>,
    pub(super) cancel: Option<Cancel>,
}

/// What to submit.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) prompt: Prompt,
    pub(super) stop: Stop,
    /// The listener goes away with this many items.
    pub(super) gone_after: Option<usize>,
    pub(super) guesses: usize,
    pub(super) sampling: Sampling,
    pub(super) salt: &'static str,
}

#[derive(Clone, Debug)]
pub(super) enum Prompt {
    /// As long as this, and beginning with a token of its own.
    Own(usize),
    /// These tokens.
    Tokens(Vec<u32>),
}

impl Ask {
    pub(super) fn new(prompt: usize, max_tokens: u32) -> Self {
        let stop = Stop { max_tokens: Some(max_tokens), ..Stop::default() };
        let sampling = Sampling::greedy();
        Self { prompt: Prompt::Own(prompt), stop, gone_after: None, guesses: 0, sampling, salt: "" }
    }

    pub(super) fn of(tokens: &[u32], max_tokens: u32) -> Self {
        Self { prompt: Prompt::Tokens(tokens.to_vec()), ..Self::new(0, max_tokens) }
    }
}

impl Bench {
    pub(super) fn new(places: usize, next: Next) -> Self {
        Setup::new(places, next).build()
    }

    /// Pages that a sequence of so many tokens holds.
    pub(super) fn pages(tokens: usize) -> usize {
        tokens.div_ceil(PAGE_TOKENS)
    }
}

impl<P: Program> Bench<P> {
    pub(super) fn of(program: P, text: TextModel, limits: Limits, log: Log) -> Self {
        let batcher = Batcher::new(program, Arc::new(text), limits);
        Self { batcher, requests: Vec::new(), log, health: Health::Sound }
    }

    /// Submits a request and says its number.
    pub(super) fn submit(&mut self, ask: Ask) -> usize {
        let number = self.requests.len();
        let prompt = match ask.prompt {
            Prompt::Own(len) => {
                // Fewer than there are bytes, so that the first token tells them apart.
                let first = BYTES + u32::try_from(number).unwrap();
                std::iter::once(first).chain((1..len as u32).map(|nth| BYTES + nth % 256)).collect()
            }
            Prompt::Tokens(tokens) => tokens,
        };
        let items = Arc::new(Mutex::new(Vec::new()));
        let (kept, gone_after) = (Arc::clone(&items), ask.gone_after);
        let sink = move |item| {
            let mut items = kept.lock().unwrap();
            items.push(item);
            if gone_after.is_some_and(|most| items.len() >= most) { Err(Gone) } else { Ok(()) }
        };
        let (cancel, cancelled) = Cancel::new();
        let plan = Plan {
            sampling: ask.sampling,
            prompt_len: prompt.len(),
            ignore_ends: ask.stop.ignore_eos,
            min_tokens: ask.stop.min_tokens,
            ..Plan::default()
        };
        self.batcher.submit(Job {
            prompt: prompt.clone(),
            salt: ask.salt.into(),
            guesses: ask.guesses,
            picker: Picker::new(plan, Arc::new(Tokens(Arc::clone(&self.batcher.text)))).unwrap(),
            stop: ask.stop,
            outlet: Outlet::new(Box::new(sink)),
            cancelled,
        });
        self.requests.push(Asked { prompt, items, cancel: Some(cancel) });
        number
    }

    pub(super) fn cancel(&mut self, number: usize) {
        self.requests[number].cancel = None;
    }

    /// Steps once: the rows that were computed.
    pub(super) fn step(&mut self) -> Vec<Seen> {
        let before = self.log.steps.lock().unwrap().len();
        self.health = self.batcher.step(&self.log);
        let steps = self.log.steps.lock().unwrap();
        assert!(steps.len() <= before + 1, "one step of the program a step");
        steps.get(before).cloned().unwrap_or_default()
    }

    pub(super) fn step_to_the_end(&mut self) -> Vec<Vec<Seen>> {
        let mut steps = Vec::new();
        while !self.batcher.is_idle() {
            assert!(steps.len() < 100_000, "it does not come to an end");
            steps.push(self.step());
        }
        steps
    }

    pub(super) fn items(&self, number: usize) -> Vec<Item> {
        self.requests[number].items.lock().unwrap().clone()
    }

    pub(super) fn ids(&self, number: usize) -> Vec<u32> {
        let ids = |item| match item {
            Item::Delta { token_ids, .. } => token_ids,
            Item::Finish { .. } | Item::Failed(_) => vec![],
        };
        self.items(number).into_iter().flat_map(ids).collect()
    }

    pub(super) fn text(&self, number: usize) -> String {
        let text = |item| match item {
            Item::Delta { text, .. } => text,
            Item::Finish { .. } | Item::Failed(_) => String::new(),
        };
        self.items(number).into_iter().map(text).collect()
    }

    pub(super) fn failure(&self, number: usize) -> Option<RequestError> {
        match self.items(number).pop()? {
            Item::Failed(error) => Some(error),
            Item::Delta { .. } | Item::Finish { .. } => None,
        }
    }

    /// Tokens of a prompt that were not computed.
    pub(super) fn cached(&self, number: usize) -> usize {
        match self.items(number).pop() {
            Some(Item::Finish { usage, .. }) => usage.cached_tokens as usize,
            other => panic!("{other:?}"),
        }
    }

    /// Pages of the first group that sequences hold.
    pub(super) fn held(&self) -> usize {
        self.batcher.pool.occupancy()[0].held()
    }
}
