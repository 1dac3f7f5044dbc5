//! Times prompts and decoding of a model file: `speed FILE [THREADS]`.
//!
//! A line a figure: tokens a second, and for decoding the bytes that a token reads a
//! second, beside what the same threads read of memory when they do nothing else.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use hearth_cpu::{Cpu, CpuConfig, CpuProgram};
use hearth_kernels::arena::Arena;
use hearth_kernels::pool::{Chunks, Pool};
use hearth_model::{KvType, Shape};
use hearth_program::{Answers, PAGE_TOKENS, PREFILL_CHUNK, PageId, Program, Row, Stage, Unwatched, build};

const CONTEXT: u32 = 4096 + 256;
const SEQUENCES: u32 = 8;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = PathBuf::from(arguments.next().ok_or("speed FILE [THREADS]")?);
    let threads = arguments.next().map(|threads| threads.parse::<NonZeroUsize>()).transpose()?;
    let cpu = Cpu::open(CpuConfig { threads })?;
    let model = build::read(&path)?;
    let shape = Shape { context_tokens: CONTEXT, sequences: SEQUENCES, kv_type: KvType::F16 };
    let begin = Instant::now();
    let built = cpu.build(&path, &model, &shape, &mut Unwatched)?;
    println!("load               {:8.1} ms   {:?}", begin.elapsed().as_secs_f64() * 1e3, built.measured);
    let weights = built.measured.weights as f64;
    let kv_token = built.measured.kv as f64 / f64::from(CONTEXT * SEQUENCES);
    let limit = bandwidth(cpu.threads())?;
    println!("reading            {:8.1} GB/s", limit / 1e9);

    let mut timed = Timed { program: built.program, answers: Answers::default(), tables: tables() };
    for tokens in [128, 512] {
        let rate = median(|| tokens as f64 / timed.prompt(tokens));
        println!("prefill {tokens:4}       {rate:8.1} tok/s");
    }
    let mut filled = 0;
    for depth in [0, 128, 1024, 4096] {
        while filled < depth {
            timed.piece(filled);
            filled += PREFILL_CHUNK;
        }
        let rate = median(|| 32.0 / timed.decode(1, depth, 32));
        let bytes = (weights + kv_token * (depth as f64 + 16.0)) * rate;
        let share = 100.0 * bytes / limit;
        println!("decode at {depth:4}     {rate:8.1} tok/s {:6.1} GB/s {share:4.0} %", bytes / 1e9);
    }
    let rate = median(|| 8.0 * 32.0 / timed.decode(8, 0, 32));
    println!("decode of 8        {rate:8.1} tok/s");
    Ok(())
}

/// The middle one of some repetitions.
fn median(mut once: impl FnMut() -> f64) -> f64 {
    let mut rates = (0..7).map(|_| once()).collect::<Vec<_>>();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Bytes a second that threads read of huge pages.
fn bandwidth(threads: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let bytes = 256 << 20;
    let pool = Pool::new(threads)?;
    let mut arena = Arena::new(bytes)?;
    arena.fill(1);
    Ok(median(|| {
        let begin = Instant::now();
        pool.over(Chunks::new(&mut arena, 16 << 10), |_, part, _| {
            let (lines, _) = part.as_chunks::<64>();
            let mut sums = [0u64; 8];
            for line in lines {
                for (sum, eight) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                    *sum ^= u64::from_ne_bytes(*eight);
                }
            }
            std::hint::black_box(sums);
        });
        bytes as f64 / begin.elapsed().as_secs_f64()
    }))
}

fn tables() -> Vec<Vec<Vec<PageId>>> {
    let pages = CONTEXT.div_ceil(PAGE_TOKENS as u32);
    (0..SEQUENCES).map(|i| vec![(i * pages..(i + 1) * pages).map(PageId).collect()]).collect()
}

struct Timed {
    program: CpuProgram,
    answers: Answers,
    tables: Vec<Vec<Vec<PageId>>>,
}

impl Timed {
    fn piece(&mut self, start: usize) {
        let tokens = (0..PREFILL_CHUNK as u32).map(|i| 1000 + i * 7).collect::<Vec<_>>();
        let row =
            Row { tables: &self.tables[0], start, tokens: &tokens, stage: Stage::Prefill { last: false } };
        self.program.step(&[row], &mut self.answers).expect("a piece of a prompt");
    }

    /// Seconds of a prompt.
    fn prompt(&mut self, tokens: usize) -> f64 {
        let begin = Instant::now();
        for start in (0..tokens).step_by(PREFILL_CHUNK) {
            self.piece(start);
        }
        begin.elapsed().as_secs_f64()
    }

    /// Seconds of `steps` steps of as many sequences at a depth.
    fn decode(&mut self, sequences: usize, depth: usize, steps: usize) -> f64 {
        let begin = Instant::now();
        for step in 0..steps {
            let tokens = [1000 + step as u32];
            let row = |tables| Row { tables, start: depth + step, tokens: &tokens, stage: Stage::Decode };
            let batch = self.tables[..sequences].iter().map(|tables| row(tables)).collect::<Vec<_>>();
            self.program.step(&batch, &mut self.answers).expect("a decoding step");
        }
        begin.elapsed().as_secs_f64()
    }
}
