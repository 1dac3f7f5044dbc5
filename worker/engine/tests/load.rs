//! Sixty-four callers at once, for as long as is asked, on the CPU engine:
//!
//! `HEARTH_LOAD_SECONDS=600 cargo test -p hearth-engine --test load -- --ignored --nocapture`
//!
//! Prompts have some tokens or two thousand, and one of four begins as others did. No
//! request fails, no page stays behind, and however many prompts come, a caller waits
//! for a token no longer than a few steps usually take.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hearth_engine::{
    Backend, CpuConfig, Engine, Gone, Input, Item, LoadEvent, LoadSpec, Request, Sampling, Shortcuts, Stats,
    Stop, Usage,
};
use hearth_model::KvType;

const CALLERS: u32 = 64;
const CONTEXT: u32 = 2304;
const ID: &str = "model";

/// A token, as the device's thread sent it: in which step, and when.
type Sent = (u64, Instant);

/// What a request came to.
struct Answer {
    sent: Vec<Sent>,
    usage: Usage,
}

fn start() -> Engine {
    let home = std::env::var_os("HOME").unwrap_or_default();
    let default = || Path::new(&home).join(".cache/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    let path = std::env::var_os("HEARTH_TEST_MODEL").map_or_else(default, PathBuf::from);
    let engine = Engine::start(Backend::Cpu(CpuConfig::default())).unwrap();
    let spec =
        LoadSpec { id: ID.into(), path, context_tokens: CONTEXT, sequences: CALLERS, kv_type: KvType::F16 };
    let (events, loaded) = mpsc::channel();
    engine.load(spec, Box::new(move |event| drop(events.send(event)))).detach();
    loop {
        match loaded.recv().unwrap() {
            LoadEvent::Progress { .. } => {}
            LoadEvent::Loaded(_) => return engine,
            LoadEvent::Failed(error) => panic!("{error}"),
        }
    }
}

/// Numbers that differ from caller to caller and repeat from run to run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % u64::from(end)) as u32
    }

    fn request(&mut self) -> Request {
        let long = self.below(8) == 0;
        let len = if long { 2000 } else { [16, 60, 150, 400][self.below(4) as usize] };
        let shared = if self.below(4) == 0 { len / 2 } else { 0 };
        let own = (shared..len).map(|_| 1000 + self.below(40_000)).collect::<Vec<_>>();
        let prompt = (0..shared).map(|at| 1000 + at * 17 % 40_000).chain(own).collect();
        let max_tokens = Some(16 + self.below(100));
        Request {
            input: Input::Tokens(prompt),
            sampling: Sampling { temperature: 0.8, top_p: 0.95, ..Sampling::default() },
            stop: Stop { max_tokens, ignore_eos: true, ..Stop::default() },
            constraint: None,
            shortcuts: Shortcuts { guesses: self.below(2) * 4, ..Shortcuts::default() },
        }
    }
}

/// Asks, and hears all of the answer.
fn ask(engine: &Engine, request: Request) -> Answer {
    let (sender, items) = mpsc::channel();
    let handle = engine.clone();
    let sink = move |item: Item| {
        // The clock is read on the device's thread, as tokens are made.
        sender.send((handle.pulse().steps, Instant::now(), item)).map_err(|_| Gone)
    };
    let _cancel = engine.generate(ID, request, Box::new(sink));
    let mut sent = Vec::new();
    loop {
        let (step, at, item) = items.recv_timeout(Duration::from_secs(300)).expect("an item comes");
        match item {
            Item::Delta { token_ids, .. } if token_ids.is_empty() => {}
            Item::Delta { .. } => sent.push((step, at)),
            Item::Finish { usage, .. } => return Answer { sent, usage },
            Item::Failed(error) => panic!("{error}"),
        }
    }
}

fn call(engine: &Engine, caller: u32, until: Instant) -> Vec<Answer> {
    let mut dice = Dice(u64::from(caller));
    let mut answers = Vec::new();
    while Instant::now() < until {
        answers.push(ask(engine, dice.request()));
        if dice.below(16) == 0 {
            // One that is let go before its end.
            drop(engine.generate(ID, dice.request(), Box::new(|_| Ok(()))));
        }
    }
    answers
}

/// The share of numbers, which are sorted, that are smaller.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}

fn sorted(numbers: impl Iterator<Item = Duration>) -> Vec<f64> {
    let mut numbers = numbers.map(|number| number.as_secs_f64() * 1e3).collect::<Vec<_>>();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// Milliseconds from one step's first token to the next step's.
fn steps(answers: &[Answer]) -> Vec<f64> {
    let mut first = BTreeMap::new();
    for (step, at) in answers.iter().flat_map(|answer| &answer.sent) {
        let first = first.entry(*step).or_insert(*at);
        *first = (*first).min(*at);
    }
    let pairs = first.iter().zip(first.iter().skip(1));
    sorted(pairs.filter(|((a, _), (b, _))| *a + 1 == **b).map(|((_, a), (_, b))| *b - *a))
}

/// Milliseconds between an answer's tokens, of which several may come at a time.
fn gaps(answers: &[Answer]) -> Vec<f64> {
    let pairs = answers.iter().flat_map(|answer| answer.sent.iter().zip(&answer.sent[1..]));
    sorted(pairs.map(|((_, a), (_, b))| *b - *a))
}

/// What the model is at when all have left.
fn at_rest(engine: &Engine) -> Stats {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let stats = engine.stats()[ID];
        if (stats.running, stats.waiting) == (0, 0) || Instant::now() > deadline {
            return stats;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[test]
#[ignore = "takes a minute, or as long as asked"]
fn many_callers_for_a_long_time() {
    let seconds = std::env::var("HEARTH_LOAD_SECONDS").map_or(60, |seconds| seconds.parse().unwrap());
    let engine = start();
    let (began, until) = (Instant::now(), Instant::now() + Duration::from_secs(seconds));
    let before = resident();
    let answers = std::thread::scope(|scope| {
        let callers = (0..CALLERS).map(|caller| {
            let engine = &engine;
            scope.spawn(move || call(engine, caller, until))
        });
        let callers = callers.collect::<Vec<_>>();
        callers.into_iter().flat_map(|caller| caller.join().expect("no request fails")).collect::<Vec<_>>()
    });
    let took = began.elapsed().as_secs_f64();
    let Stats { running, waiting, pages, counts } = at_rest(&engine);
    let (steps, gaps) = (steps(&answers), gaps(&answers));
    let (median, p99) = (quantile(&steps, 0.5), quantile(&gaps, 0.99));
    let tokens =
        |of: fn(&Usage) -> u32| answers.iter().map(|answer| u64::from(of(&answer.usage))).sum::<u64>();
    let written = tokens(|usage| usage.completion_tokens);
    println!("{} answers in {took:.1} s, {:.1} tokens/s written", answers.len(), written as f64 / took);
    println!(
        "{} tokens of prompts, of which {} were cached",
        tokens(|usage| usage.prompt_tokens),
        tokens(|usage| usage.cached_tokens)
    );
    println!("{counts:?}");
    println!("{pages:?}, {running} running, {waiting} waiting");
    println!("a step: median {median:.1} ms, p99 {:.1} ms", quantile(&steps, 0.99));
    println!(
        "a gap: median {:.1} ms, p99 {p99:.1} ms, longest {:.1} ms",
        quantile(&gaps, 0.5),
        quantile(&gaps, 1.0)
    );
    println!("p99 gap / median step: {:.2}", p99 / median);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("what runs on this machine, of the last minutes: {}", load.trim());
    println!("resident: {before} KiB before, {} KiB after", resident());
    assert_eq!((running, waiting, pages.held()), (0, 0, 0));
    assert!(p99 <= 3.0 * median, "a gap of {p99:.1} ms where a step takes {median:.1} ms");
}
