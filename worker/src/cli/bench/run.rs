//! One repetition, through the same handle that serves everybody.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use hearth_engine::{
    Cancel, Engine, Gone, Input, Item, LoadEvent, LoadSpec, Request, Sampling, Shortcuts, Stop,
};
use hearth_model::{Footprint, KvType};

use super::plan::{Shape, Work};
use super::progress::Progress;

/// The engine's name for the only model.
const ID: &str = "model";

/// Prompts are drawn from the tokens of this, so that every model has them.
const POOL: &str = "The pilot boat leaves the harbour without lights because its skipper knows the channel by \
    smell. Bread wants flour, water, salt and yeast; a long rest; then heat. Why does ice float while iron \
    sinks? Seven trucks stand in line near an old bridge, and nobody hurries. let mut total = 0; for n in 1..10 \
    { total += n * n; } print(total) [\"north\", \"south\", 'east', <west>] 2024-07-15 3.14159 & 2.71828";

/// When tokens came.
#[derive(Clone, Copy)]
struct Arrival {
    at: Instant,
    tokens: u64,
}

/// A request under way. Letting go of it cancels it.
struct Running {
    items: mpsc::Receiver<(Instant, Item)>,
    _cancel: Cancel,
}

/// An engine with the model in it.
pub(super) struct Bench {
    engine: Engine,
    footprint: Footprint,
    pool: Vec<u32>,
    /// Of the generator of prompts: none begins as another did, so none is found in
    /// a cache of prefixes.
    state: u64,
}

impl Bench {
    /// Loads the model.
    pub(super) fn load(
        engine: Engine,
        path: PathBuf,
        shape: Shape,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let Shape { sequences, context_tokens } = shape;
        let spec = LoadSpec { id: ID.to_owned(), path, context_tokens, sequences, kv_type: KvType::F16 };
        let (sender, ended) = mpsc::channel();
        let progress = progress.clone();
        let _load = engine.load(
            spec,
            Box::new(move |event| match event {
                LoadEvent::Progress { done, total, .. } => progress.loading(done, total),
                LoadEvent::Loaded(footprint) => drop(sender.send(Ok(footprint))),
                LoadEvent::Failed(error) => drop(sender.send(Err(error))),
            }),
        );
        let footprint = ended
            .recv()
            .context("the engine ended while it loaded the model")?
            .context("cannot load the model")?;
        let mut bench = Self { engine, footprint, pool: Vec::new(), state: 0 };
        bench.pool = bench.tokenize(POOL)?;
        Ok(bench)
    }

    /// What the engine counted when it loaded the model.
    pub(super) fn footprint(&self) -> Footprint {
        self.footprint
    }

    /// One short prompt, up to its first token.
    pub(super) fn first_token(&mut self) -> anyhow::Result<()> {
        let prompt = self.prompt(8);
        self.ask(prompt, 1).arrivals().map(drop)
    }

    /// Runs the work's code once, without the depth.
    pub(super) fn warm_up(&mut self, work: Work) -> anyhow::Result<()> {
        let short = match work {
            Work::Prefill { .. } => work,
            Work::Decode { .. } => Work::Decode { depth: 0, tokens: 1 },
            Work::Batch { sequences, prompt, .. } => {
                Work::Batch { sequences, prompt: prompt.min(8), tokens: 2 }
            }
        };
        self.measure(short).map(drop)
    }

    /// Seconds that the tokens that count took.
    pub(super) fn measure(&mut self, work: Work) -> anyhow::Result<f64> {
        match work {
            Work::Prefill { tokens } => self.together(1, tokens, 1),
            Work::Decode { depth, tokens } => {
                let prompt = self.prompt(depth.max(1));
                let asked = tokens.checked_add(1).context("too many tokens")?;
                let arrivals = self.ask(prompt, asked).arrivals()?;
                let (Some(first), Some(last)) = (arrivals.first(), arrivals.last()) else {
                    bail!("the engine generated nothing");
                };
                // What came with the prompt's end is not decode.
                let counted = arrivals.iter().skip(1).map(|a| a.tokens).sum::<u64>();
                if first.tokens != 1 || counted != u64::from(tokens) {
                    bail!(
                        "the engine was to generate {asked} tokens one by one, and gave {} + {counted}",
                        first.tokens
                    );
                }
                Ok((last.at - first.at).as_secs_f64())
            }
            Work::Batch { sequences, prompt, tokens } => self.together(sequences, prompt, tokens),
        }
    }

    /// Seconds from the requests to the last one's last token.
    fn together(&mut self, sequences: u32, prompt: u32, tokens: u32) -> anyhow::Result<f64> {
        let prompts: Vec<_> = (0..sequences).map(|_| self.prompt(prompt)).collect();
        let began = Instant::now();
        let running: Vec<_> = prompts.into_iter().map(|prompt| self.ask(prompt, tokens)).collect();
        let mut ended = began;
        for one in running {
            let arrivals = one.arrivals()?;
            let got: u64 = arrivals.iter().map(|a| a.tokens).sum();
            if got != u64::from(tokens) {
                bail!("the engine was to generate {tokens} tokens, and gave {got}");
            }
            ended = arrivals.iter().fold(ended, |ended, a| ended.max(a.at));
        }
        Ok((ended - began).as_secs_f64())
    }

    fn ask(&self, prompt: Vec<u32>, tokens: u32) -> Running {
        let (sender, items) = mpsc::channel();
        let request = Request {
            input: Input::Tokens(prompt),
            sampling: Sampling::greedy(),
            stop: Stop { max_tokens: Some(tokens), ignore_eos: true, ..Stop::default() },
            constraint: None,
            shortcuts: Shortcuts::default(),
        };
        // The clock is read where the token is made: passing it on is not the engine's time.
        let sink = move |item| sender.send((Instant::now(), item)).map_err(|_| Gone);
        let cancel = self.engine.generate(ID, request, Box::new(sink));
        Running { items, _cancel: cancel }
    }

    fn prompt(&mut self, tokens: u32) -> Vec<u32> {
        let mut next = || {
            // Knuth's MMIX constants; the high bits are the good ones.
            self.state =
                self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (self.state >> 33) as usize % self.pool.len().max(1);
            self.pool.get(at).copied().unwrap_or_default()
        };
        (0..tokens).map(|_| next()).collect()
    }

    fn tokenize(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        // Piece by piece: together they need not fit into the context.
        let mut ids = Vec::new();
        for word in text.split_whitespace() {
            let (sender, answer) = mpsc::channel();
            let input = Input::Prompt(word.to_owned());
            self.engine.tokenize(ID, input, Box::new(move |tokens| drop(sender.send(tokens))));
            ids.extend(answer.recv().context("the engine ended while it tokenized")??);
        }
        Ok(ids)
    }
}

impl Running {
    /// Every arrival of tokens, once the request has ended.
    fn arrivals(self) -> anyhow::Result<Vec<Arrival>> {
        let mut arrivals = Vec::new();
        for (at, item) in self.items {
            match item {
                Item::Delta { token_ids, .. } if token_ids.is_empty() => {}
                Item::Delta { token_ids, .. } => {
                    arrivals.push(Arrival { at, tokens: token_ids.len() as u64 });
                }
                Item::Finish { .. } => return Ok(arrivals),
                Item::Failed(error) => return Err(error.into()),
            }
        }
        Err(anyhow!("the engine ended while it generated"))
    }
}
