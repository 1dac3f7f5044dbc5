//! What this machine can do at most, for two figures to be fractions of: bytes that
//! are read a second from memory on huge pages (decode), and products of bf16 that
//! are added a second (prefill). Prints one JSON object.
//!
//! `hearth-bench-machine [THREADS]`, by default as many as there are cores.

mod bandwidth;
mod peak;

use std::num::NonZeroUsize;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use anyhow::Context;
use serde::Serialize;

#[derive(Serialize)]
struct Machine {
    threads: usize,
    /// On huge pages, all threads together, the best of several passes.
    read_bytes_per_second: f64,
    /// Multiplications and additions each count as one, all threads together.
    bf16_flops: f64,
    /// The instruction that reached it.
    bf16_instruction: &'static str,
}

fn main() -> anyhow::Result<()> {
    let threads = match std::env::args().nth(1) {
        Some(text) => text.parse::<NonZeroUsize>().context("the number of threads")?,
        None => thread::available_parallelism().context("the number of cores")?,
    };
    let threads = threads.get();
    let peak = peak::Instruction::best();
    let machine = Machine {
        threads,
        read_bytes_per_second: bandwidth::read(threads)?,
        bf16_flops: peak.flops(threads),
        bf16_instruction: peak.name(),
    };
    println!("{}", serde_json::to_string(&machine)?);
    Ok(())
}

/// Runs `work` on every thread at once, `passes` times, and answers the seconds of
/// the fastest pass: others can only make a pass slower.
fn fastest(threads: usize, passes: usize, work: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(threads);
    let (barrier, work) = (&barrier, &work);
    let one = move |thread: usize| {
        let mut best = f64::INFINITY;
        for _ in 0..passes {
            barrier.wait();
            let began = Instant::now();
            work(thread);
            barrier.wait();
            best = best.min(began.elapsed().as_secs_f64());
        }
        best
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        let mut best = one(0);
        for other in others {
            // A pass is over when its last thread is.
            best = best.max(other.join().unwrap_or(f64::INFINITY));
        }
        best
    })
}
