//! A header may not make the parser allocate more than its own bytes justify.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use hearth_model::testing::{GgufBuilder, tiny_llama};
use hearth_model::{Array, Value, gguf, safetensors};
use proptest::prelude::*;

thread_local! {
    /// Bytes in use by this thread, and the most there have been.
    static IN_USE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

struct Counting;

fn count(delta: isize) {
    // The thread may be ending: then nobody asks any more.
    let _ = IN_USE.try_with(|c| {
        let (now, most) = c.get();
        c.set((now + delta, most.max(now + delta)));
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes in use at once while `f` ran, beyond those before it.
fn peak(f: impl FnOnce()) -> usize {
    let (before, _) = IN_USE.get();
    IN_USE.set((before, before));
    f();
    (IN_USE.get().1 - before).unsigned_abs()
}

/// A tensor takes at least 33 bytes of a header, and in memory its description,
/// its name twice and room for four dimensions, in vectors that double.
fn allowed(prefix: usize) -> usize {
    16 * prefix + 64 * 1024
}

fn check(bytes: &[u8]) {
    for size in [None, Some(bytes.len() as u64), Some(u64::MAX)] {
        let used = peak(|| drop(gguf::parse(bytes, size)));
        assert!(used <= allowed(bytes.len()), "GGUF: {used} bytes for a prefix of {}", bytes.len());
        let used = peak(|| drop(safetensors::parse(bytes, size)));
        assert!(used <= allowed(bytes.len()), "safetensors: {used} bytes for a prefix of {}", bytes.len());
    }
}

#[test]
fn counts_are_not_believed() {
    let empty = |n: usize| GgufBuilder::new().meta("k", Value::Array(Array::String(vec![String::new(); n])));
    check(&empty(100_000).build());
    let mut tensors = GgufBuilder::new();
    for i in 0..20_000 {
        tensors = tensors.raw_tensor(&format!("{i}"), 24, &[1], Some(i * 32), Vec::new());
    }
    check(&tensors.build());
    // Each count in turn is the largest that is allowed, with nothing behind it.
    for at in [8, 16] {
        let mut bytes = GgufBuilder::new().build();
        bytes[at..at + 8].copy_from_slice(&(1u64 << 16).to_le_bytes());
        check(&bytes);
    }
    for id in 0..13u32 {
        let mut bytes = GgufBuilder::new().meta("k", Value::Array(Array::U8(Vec::new()))).build();
        bytes[37..41].copy_from_slice(&id.to_le_bytes());
        bytes[41..49].copy_from_slice(&(1u64 << 22).to_le_bytes());
        check(&bytes);
    }
}

proptest! {
    #[test]
    fn mutated_files_allocate_little(edits in proptest::collection::vec((0usize..6000, any::<u8>()), 0..8)) {
        let mut bytes = tiny_llama(5);
        for (at, to) in edits {
            bytes[at] = to;
        }
        bytes.truncate(8000);
        check(&bytes);
    }
}
