//! A step allocates nothing once its answers have grown.
//!
//! Alone in its binary: it counts the allocations of all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use hearth_cpu::{Cpu, CpuConfig};
use hearth_model::testing::tiny_llama;
use hearth_model::{KvType, Shape};
use hearth_program::{Answers, PAGE_TOKENS, PREFILL_CHUNK, PageId, Program, Row, Stage, Unwatched, build};

struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator, and a counter.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Of the program.
const THREADS: usize = 2;

#[test]
fn steps_allocate_nothing() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&tiny_llama(3)).unwrap();
    let shape = Shape { context_tokens: 256, sequences: 4, kv_type: KvType::F16 };
    let cpu = Cpu::open(CpuConfig { threads: std::num::NonZeroUsize::new(THREADS) }).unwrap();
    let model = build::read(file.path()).unwrap();
    let mut program = cpu.build(file.path(), &model, &shape, &mut Unwatched).unwrap().program;

    let pages = 256 / PAGE_TOKENS as u32;
    let tables = (0..4).map(|i| [(i * pages..(i + 1) * pages).map(PageId).collect::<Vec<_>>()]);
    let tables = tables.collect::<Vec<_>>();
    let tokens = vec![7; PREFILL_CHUNK];
    let mut answers = Answers::default();
    let mut counted = Vec::new();
    for position in 0..200 {
        let piece = if position == 60 { PREFILL_CHUNK } else { 1 };
        let mut batch = Vec::new();
        for (i, tables) in tables.iter().enumerate() {
            let row = Row { tables, start: position, tokens: &tokens[..1], stage: Stage::Decode };
            let prompt = Row { tokens: &tokens[..piece], stage: Stage::Prefill { last: true }, ..row };
            batch.push(if i == 0 && piece > 1 { prompt } else { row });
        }
        let before = COUNT.load(Ordering::Relaxed);
        program.step(&batch, &mut answers).unwrap();
        counted.push(COUNT.load(Ordering::Relaxed) - before);
    }
    // The first one makes the answers.
    assert!(counted[0] > 0, "nothing is counted");
    // The first time that a thread sleeps, the library makes it a handle; when that
    // is depends on how long it had to wait.
    let later = counted[1..].iter().sum::<usize>();
    assert!(later <= THREADS, "{later} in {counted:?}");
}
