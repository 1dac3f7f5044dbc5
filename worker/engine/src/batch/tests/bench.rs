//! A batcher over a program that tells what it was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use hearth_model::testing::TinyLlama;
use hearth_model::{KvType, Model, Shape, gguf};

use crate::api::{Cancel, Outlet};
use crate::batch::{Batcher, Health, Job};
use crate::reader::Tokens;
use crate::{Gone, Item, RequestError, Sampling, Stop};
use hearth_program::{Answers, Output, PAGE_TOKENS, PageLayout, Program, Row, Stage, StepError};
use hearth_sample::{Picker, Plan};
use hearth_text::TextModel;

pub(super) const CONTEXT: usize = 512;
/// Ends a generation.
pub(super) const END: u32 = 2;
/// The token of byte 0.
pub(super) const BYTES: u32 = 3;

/// What a sequence's tokens are followed by.
pub(super) type Next = fn(&[u32]) -> u32;

/// A program whose answers are what a function makes of a sequence's tokens, which
/// it keeps in its pages.
pub(super) struct Script {
    next: Next,
    vocabulary: usize,
    layout: PageLayout,
    /// A token a position, a list of pages a group.
    pages: Vec<Vec<[u32; PAGE_TOKENS]>>,
    steps: Arc<Mutex<Vec<Vec<Seen>>>>,
    /// Steps that fail, from now on.
    faults: Arc<AtomicUsize>,
}

/// A row that was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Which request: prompts begin with it.
    pub(super) request: u32,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) stage: Stage,
}

impl Script {
    /// Writes a row's tokens, and reads all of the sequence through each of its tables.
    fn take(&mut self, row: &Row<'_>) -> Vec<u32> {
        self.layout.check(row).unwrap();
        let end = row.start + row.tokens.len();
        let mut read = Vec::new();
        for (pages, table) in self.pages.iter_mut().zip(row.tables) {
            for (position, token) in (row.start..).zip(row.tokens) {
                pages[table[position / PAGE_TOKENS].0 as usize][position % PAGE_TOKENS] = *token;
            }
            let token = |at: usize| pages[table[at / PAGE_TOKENS].0 as usize][at % PAGE_TOKENS];
            read = (0..end).map(token).collect();
        }
        read
    }
}

impl Program for Script {
    fn pages(&self) -> &PageLayout {
        &self.layout
    }

    fn output(&self) -> Output {
        Output::Logits { vocabulary: self.vocabulary }
    }

    fn step(&mut self, batch: &[Row<'_>], answers: &mut Answers) -> Result<(), StepError> {
        assert!(!batch.is_empty(), "a step of nothing");
        let one_less = |left: usize| left.checked_sub(1);
        if self.faults.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Err(StepError { message: "a fault of the device".into() });
        }
        let mut seen = Vec::new();
        let mut logits = answers.prepare(self.vocabulary, batch).chunks_mut(self.vocabulary);
        for row in batch {
            let tokens = self.take(row);
            let request = tokens[0] - BYTES;
            seen.push(Seen { request, start: row.start, len: row.tokens.len(), stage: row.stage });
            for end in (1..=tokens.len()).rev().take(row.answers()).collect::<Vec<_>>().into_iter().rev() {
                let logits = logits.next().unwrap();
                logits.fill(0.0);
                logits[(self.next)(&tokens[..end]) as usize] = 1.0;
            }
        }
        self.steps.lock().unwrap().push(seen);
        Ok(())
    }
}

/// A batcher and everything that was heard from it.
pub(super) struct Bench {
    pub(super) batcher: Batcher<Script>,
    tokens: Arc<Tokens>,
    pub(super) requests: Vec<Asked>,
    steps: Arc<Mutex<Vec<Vec<Seen>>>>,
    /// Steps that fail, from now on.
    pub(super) faults: Arc<AtomicUsize>,
    /// What the last step said.
    pub(super) health: Health,
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
    pub(super) prompt: usize,
    pub(super) stop: Stop,
    /// The listener goes away with this many items.
    pub(super) gone_after: Option<usize>,
}

impl Ask {
    pub(super) fn new(prompt: usize, max_tokens: u32) -> Self {
        let stop = Stop { max_tokens: Some(max_tokens), ..Stop::default() };
        Self { prompt, stop, gone_after: None }
    }
}

impl Bench {
    pub(super) fn new(places: usize, next: Next) -> Self {
        let tiny = TinyLlama { context_length: CONTEXT as u32, ..TinyLlama::new(1) };
        let bytes = tiny.builder().build();
        let gguf::Progress::Done(header) = gguf::parse(&bytes, Some(bytes.len() as u64)).unwrap() else {
            panic!("the whole file was there");
        };
        let text = TextModel::new(&Model::from_gguf(&header).unwrap(), CONTEXT as u32).unwrap();
        let (steps, faults) = (Arc::default(), Arc::default());
        let shape = Shape { context_tokens: CONTEXT as u32, sequences: places as u32, kv_type: KvType::F16 };
        let layout = PageLayout::new([None], &shape);
        let program = Script {
            next,
            vocabulary: text.tokenizer().vocabulary(),
            pages: layout.groups.iter().map(|group| vec![[0; PAGE_TOKENS]; group.pages]).collect(),
            layout,
            steps: Arc::clone(&steps),
            faults: Arc::clone(&faults),
        };
        let text = Arc::new(text);
        let tokens = Arc::new(Tokens(Arc::clone(&text)));
        let batcher = Batcher::new(program, text, places);
        Self { batcher, tokens, requests: Vec::new(), steps, faults, health: Health::Sound }
    }

    /// Submits a request and says its number.
    pub(super) fn submit(&mut self, ask: Ask) -> usize {
        let number = self.requests.len();
        // Fewer than there are bytes, so that the first token tells them apart.
        let first = BYTES + u32::try_from(number).unwrap();
        let prompt = std::iter::once(first).chain((1..ask.prompt as u32).map(|nth| BYTES + nth % 256));
        let prompt = prompt.collect::<Vec<_>>();
        let items = Arc::new(Mutex::new(Vec::new()));
        let (kept, gone_after) = (Arc::clone(&items), ask.gone_after);
        let sink = move |item| {
            let mut items = kept.lock().unwrap();
            items.push(item);
            if gone_after.is_some_and(|most| items.len() >= most) { Err(Gone) } else { Ok(()) }
        };
        let (cancel, cancelled) = Cancel::new();
        let plan = Plan {
            sampling: Sampling::greedy(),
            prompt_len: prompt.len(),
            ignore_ends: ask.stop.ignore_eos,
            min_tokens: ask.stop.min_tokens,
            ..Plan::default()
        };
        self.batcher.submit(Job {
            prompt: prompt.clone(),
            picker: Picker::new(plan, Arc::clone(&self.tokens) as _).unwrap(),
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
        let before = self.steps.lock().unwrap().len();
        self.health = self.batcher.step();
        let steps = self.steps.lock().unwrap();
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

    /// Places whose pages are held.
    pub(super) fn held(&self) -> usize {
        self.batcher.places - self.batcher.slots.free()
    }
}
