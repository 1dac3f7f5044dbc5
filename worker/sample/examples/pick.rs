//! How long a pick takes, by vocabulary and options: `cargo run --release
//! --package hearth-sample --example pick`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hearth_sample::{Dry, Picker, Plan, Sampling, Vocabulary, Workspace};

const PICKS: usize = 200;

#[derive(Debug)]
struct Sized(usize);

impl Vocabulary for Sized {
    fn size(&self) -> usize {
        self.0
    }

    fn bytes(&self, _: u32) -> &[u8] {
        b"word"
    }

    fn ends(&self) -> &[u32] {
        &[0]
    }
}

fn main() {
    let cases: [(&str, Sampling); 9] = [
        ("greedy", Sampling::greedy()),
        ("temperature", Sampling::default()),
        ("top-k 40, top-p 0.95", Sampling { top_k: 40, top_p: 0.95, ..Sampling::default() }),
        ("top-p 0.95", Sampling { top_p: 0.95, ..Sampling::default() }),
        ("min-p 0.05", Sampling { min_p: 0.05, ..Sampling::default() }),
        ("typical-p 0.95", Sampling { typical_p: 0.95, ..Sampling::default() }),
        ("greedy, penalties", Sampling { repetition_penalty: 1.1, ..Sampling::greedy() }),
        ("greedy, DRY", Sampling { dry: Dry { multiplier: 0.8, ..Dry::default() }, ..Sampling::greedy() }),
        ("greedy, 20 logprobs", Sampling { logprobs: Some(20), ..Sampling::greedy() }),
    ];
    println!("median microseconds a pick after 4,096 tokens; a peaked and a flat distribution");
    for vocabulary in [49_152, 151_936, 262_144] {
        for (name, sampling) in &cases {
            let [peaked, flat] = [12.0, 0.5].map(|spread| median(sampling, vocabulary, spread));
            println!("{vocabulary:>8}  {name:<22} {:>8.0} {:>8.0}", micros(peaked), micros(flat));
        }
    }
}

fn median(sampling: &Sampling, vocabulary: usize, spread: f32) -> Duration {
    let text = (0..4_096u32).map(|n| n.wrapping_mul(2_654_435_761) % 5_000).collect::<Vec<_>>();
    let plan = Plan { sampling: sampling.clone(), prompt_len: 1_000, ..Plan::default() };
    let mut picker = Picker::new(plan, Arc::new(Sized(vocabulary))).expect("options that are valid");
    let logits = logits(vocabulary, spread);
    let mut workspace = Workspace::default();
    let mut times = (0..PICKS)
        .map(|_| {
            let mut logits = logits.clone();
            let began = Instant::now();
            picker.pick(&mut logits, &text, &mut workspace).expect("a token");
            began.elapsed()
        })
        .collect::<Vec<_>>();
    times.sort_unstable();
    times[PICKS / 2]
}

/// Like a model's: the logarithm of the rank, scattered over the ids.
fn logits(vocabulary: usize, spread: f32) -> Vec<f32> {
    let mut logits = vec![0.0; vocabulary];
    for rank in 0..vocabulary {
        let id = rank * 7_919 % vocabulary;
        logits[id] = -spread * (1.0 + rank as f32).ln() / 4.0;
    }
    logits
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
