//! A step allocates nothing once its answers have grown.
//!
//! Alone in its binary: it counts the allocations of all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use hearth_cpu::{Cpu, CpuConfig};
use hearth_model::DType;
use hearth_model::testing::{family_goldens, tiny_llama};
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

const CONTEXT: u32 = 256;

/// What is counted in 200 steps of a model: a prompt among them, and texts where tokens
/// see ahead.
fn counted(file: &[u8]) -> Vec<usize> {
    let mut written = tempfile::NamedTempFile::new().unwrap();
    written.write_all(file).unwrap();
    let shape = Shape { context_tokens: CONTEXT, sequences: 4, kv_type: KvType::F16 };
    let cpu = Cpu::open(CpuConfig { threads: std::num::NonZeroUsize::new(THREADS) }).unwrap();
    let model = build::read(written.path()).unwrap();
    let mut program = cpu.build(written.path(), &model, &shape, &mut Unwatched).unwrap().program;

    let pages = CONTEXT / PAGE_TOKENS as u32;
    let groups = program.pages().groups.len();
    let table = |sequence: u32| (sequence * pages..(sequence + 1) * pages).map(PageId).collect::<Vec<_>>();
    let tables = (0..4).map(|sequence| vec![table(sequence); groups]).collect::<Vec<_>>();
    let tokens = vec![7; PREFILL_CHUNK];
    let mut answers = Answers::default();
    let mut counted = Vec::new();
    for position in 0..200 {
        let piece = if position == 60 { PREFILL_CHUNK } else { 1 };
        let mut batch = Vec::new();
        for (i, tables) in tables.iter().enumerate() {
            let start = if groups == 0 { 0 } else { position };
            let row = Row { tables, start, tokens: &tokens[..1], stage: Stage::Decode };
            let prompt = Row { tokens: &tokens[..piece], stage: Stage::Prefill { last: true }, ..row };
            batch.push(if i == 0 && piece > 1 { prompt } else { row });
        }
        let before = COUNT.load(Ordering::Relaxed);
        program.step(&batch, &mut answers).unwrap();
        counted.push(COUNT.load(Ordering::Relaxed) - before);
    }
    counted
}

#[test]
fn steps_allocate_nothing() {
    let families = family_goldens().into_iter();
    let families =
        families.filter(|golden| ["qwen3moe", "bert", "nomic-bert"].contains(&golden.name.as_str()));
    let files = families.map(|golden| golden.gguf(DType::F16).build()).collect::<Vec<_>>();
    assert_eq!(files.len(), 3);
    for file in [tiny_llama(3)].into_iter().chain(files) {
        let counted = counted(&file);
        // The first one makes the answers.
        assert!(counted[0] > 0, "nothing is counted");
        // The first time that a thread sleeps, the library makes it a handle; when that
        // is depends on how long it had to wait.
        let later = counted[1..].iter().sum::<usize>();
        assert!(later <= THREADS, "{later} in {counted:?}");
    }
}
