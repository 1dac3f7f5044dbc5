//! Threads that share the chunks of a phase.
//!
//! A phase is a number of chunks. Threads claim them one by one from a counter, and
//! the thread that began the phase claims with them, so a thread that the system
//! takes off its core keeps back the one chunk that it was at, not a share of the
//! phase. With shares decided in advance, one busy neighbour on the machine makes
//! every phase as slow as the slowest thread.
//!
//! Threads that find nothing to claim look again for [`SPIN`], which is more than
//! lies between two phases of a step, and then sleep.
//!
//! # Invariants
//! 1. `job` is written by the thread that holds `turn`, while `unfinished` is 0.
//! 2. `unclaimed` goes up, from 0, only after `job` and `unfinished` were written;
//!    after that it only goes down, by one a successful claim. So whoever claims holds
//!    a chunk of the job that lies there now, whatever it saw before.
//! 3. `unfinished` goes down by one after a chunk has run. So until it is 0, the
//!    closure that `job` points to is alive: [`Pool::run`] does not return before.

mod blocks;
mod runs;
mod split;
mod threads;

use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

pub use blocks::{Block, Blocks};
pub use runs::{Picked, Picks, Runs};
pub use split::{Both, Chunks, Split};
pub use threads::default_threads;

/// How long a thread looks for a next phase, or for the end of this one, before it
/// sleeps. Sleeping and waking cost some microseconds; a thread that spins costs a
/// neighbour its core.
const SPIN: Duration = Duration::from_micros(50);

/// Threads, with the one that calls.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    /// One phase at a time.
    turn: Mutex<()>,
    threads: Vec<JoinHandle<()>>,
}

/// What runs a chunk: its index, and the index of the thread.
type Run<'a> = dyn Fn(usize, usize) + Sync + 'a;

struct Job {
    run: *const Run<'static>,
    chunks: usize,
}

struct Shared {
    /// Chunks that nobody has claimed.
    unclaimed: Line<AtomicUsize>,
    /// Chunks that have not run.
    unfinished: Line<AtomicUsize>,
    job: UnsafeCell<Job>,
    /// What the first chunk that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// One a thread, without the caller.
    sleepers: Box<[Sleeper]>,
    /// The caller sleeps until `unfinished` is 0.
    caller_sleeps: AtomicBool,
    caller: Mutex<Option<Thread>>,
    stop: AtomicBool,
}

// SAFETY: `job` is accessed by the invariants of the module: written by one thread
// before `unclaimed` is raised (release), read by those that claimed (acquire), and
// not written again before these have lowered `unfinished` (release, acquire). What
// it points to may be called from any thread.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("threads", &(self.sleepers.len() + 1)).finish_non_exhaustive()
    }
}

/// A cache line of its own, so that writers do not disturb readers of what lies beside.
#[repr(align(128))]
struct Line<T>(T);

#[derive(Default)]
struct Sleeper {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

thread_local! {
    /// The index under which this thread runs a chunk.
    static RUNNING: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Pool {
    /// A pool of `threads` threads, at least one, of which the caller is one.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let others = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            unclaimed: Line(AtomicUsize::new(0)),
            unfinished: Line(AtomicUsize::new(0)),
            job: UnsafeCell::new(Job { run: std::ptr::from_ref::<Run<'static>>(&|_, _| {}), chunks: 0 }),
            panic: Mutex::new(None),
            sleepers: std::iter::repeat_with(Sleeper::default).take(others).collect(),
            caller_sleeps: AtomicBool::new(false),
            caller: Mutex::new(None),
            stop: AtomicBool::new(false),
        });
        let mut pool = Self { shared, turn: Mutex::new(()), threads: Vec::with_capacity(others) };
        for index in 0..others {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("compute-{}", index + 1));
            // Those that run already are stopped by dropping `pool`.
            pool.threads.push(thread.spawn(move || shared.work(index))?);
        }
        Ok(pool)
    }

    /// Threads that run chunks.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.shared.sleepers.len() + 1
    }

    /// Calls `run(chunk, thread)` once for every chunk below `chunks`, and returns when
    /// all have run. Chunks are claimed in order. `thread` is below
    /// [`Pool::threads`], and no two chunks that run at the same time have the same.
    ///
    /// A chunk that begins a phase itself runs it alone.
    ///
    /// # Panics
    /// A chunk panicked. The others have run.
    pub fn run(&self, chunks: usize, run: impl Fn(usize, usize) + Sync) {
        if let Some(thread) = RUNNING.get() {
            (0..chunks).for_each(|chunk| run(chunk, thread));
            return;
        }
        let _turn = lock(&self.turn);
        let running = Running::begin(0);
        if chunks <= 1 || self.shared.sleepers.is_empty() {
            (0..chunks).for_each(|chunk| run(chunk, 0));
            return;
        }
        self.shared.begin(chunks, &run);
        while self.shared.claim_and_run(0) {}
        drop(running);
        self.shared.wait();
        let panic = lock(&self.shared.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Calls `run(chunk, part, thread)` once for every part, as [`Pool::run`].
    ///
    /// # Panics
    /// As [`Pool::run`].
    pub fn over<S: Split>(&self, parts: S, run: impl Fn(usize, S::Part, usize) + Sync) {
        self.run(parts.len(), |chunk, thread| {
            // SAFETY: every chunk below `parts.len()` is run once.
            run(chunk, unsafe { parts.part(chunk) }, thread);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for sleeper in &self.shared.sleepers {
            sleeper.wake();
        }
        for thread in self.threads.drain(..) {
            // A thread has no panic of its own: those of chunks are caught.
            let _ = thread.join();
        }
    }
}

/// Marks that this thread runs chunks.
struct Running;

impl Running {
    fn begin(thread: usize) -> Self {
        RUNNING.set(Some(thread));
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.set(None);
    }
}

impl Shared {
    /// Publishes a phase. The caller holds the turn, and waits before `run` goes.
    fn begin(&self, chunks: usize, run: &Run<'_>) {
        // SAFETY: the reference is turned into a pointer of another lifetime, which
        // is followed only until `wait` returns (invariant 3).
        let run = unsafe { std::mem::transmute::<&Run<'_>, &Run<'static>>(run) };
        // SAFETY: the caller holds the turn and `unfinished` is 0, so nobody holds a
        // chunk, and without one nobody looks at the job (invariants 1 and 2).
        unsafe { *self.job.get() = Job { run, chunks } };
        self.unfinished.0.store(chunks, Ordering::Relaxed);
        // Sequentially consistent: either a thread that falls asleep sees the
        // chunks, or it is seen asleep below.
        self.unclaimed.0.store(chunks, Ordering::SeqCst);
        for sleeper in self.sleepers.iter().take(chunks - 1) {
            if sleeper.asleep.load(Ordering::SeqCst) {
                sleeper.wake();
            }
        }
    }

    /// Runs a chunk, if there is one to be claimed.
    fn claim_and_run(&self, thread: usize) -> bool {
        let mut left = self.unclaimed.0.load(Ordering::Relaxed);
        loop {
            if left == 0 {
                return false;
            }
            let claim =
                self.unclaimed.0.compare_exchange_weak(left, left - 1, Ordering::Acquire, Ordering::Relaxed);
            match claim {
                Ok(_) => break,
                Err(now) => left = now,
            }
        }
        // SAFETY: a chunk is claimed and has not run, so the job stays, and what it
        // points to is alive (invariants 2 and 3).
        let (run, chunk) = unsafe {
            let Job { run, chunks } = &*self.job.get();
            (&**run, chunks - left)
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(chunk, thread))) {
            lock(&self.panic).get_or_insert(panic);
        }
        // Sequentially consistent: either the caller sees that this was the last, or
        // it is seen asleep.
        if self.unfinished.0.fetch_sub(1, Ordering::SeqCst) == 1
            && self.caller_sleeps.swap(false, Ordering::SeqCst)
            && let Some(caller) = &*lock(&self.caller)
        {
            caller.unpark();
        }
        true
    }

    /// Waits until all chunks have run.
    fn wait(&self) {
        let done = || self.unfinished.0.load(Ordering::Acquire) == 0;
        if spin(&done) {
            return;
        }
        *lock(&self.caller) = Some(std::thread::current());
        loop {
            self.caller_sleeps.store(true, Ordering::SeqCst);
            if self.unfinished.0.load(Ordering::SeqCst) == 0 {
                break;
            }
            // It may return for a wake of an earlier phase.
            std::thread::park();
        }
        self.caller_sleeps.store(false, Ordering::SeqCst);
    }

    /// The life of a thread.
    fn work(&self, index: usize) {
        let sleeper = &self.sleepers[index];
        let _ = sleeper.thread.set(std::thread::current());
        let _running = Running::begin(index + 1);
        let there_is_work = || self.unclaimed.0.load(Ordering::Relaxed) > 0;
        loop {
            while self.claim_and_run(index + 1) {}
            if spin(&there_is_work) {
                continue;
            }
            sleeper.asleep.store(true, Ordering::SeqCst);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            if self.unclaimed.0.load(Ordering::SeqCst) == 0 {
                // It may return for nothing; then the thread looks around once more.
                std::thread::park();
            }
            sleeper.asleep.store(false, Ordering::SeqCst);
        }
    }
}

impl Sleeper {
    fn wake(&self) {
        // A thread that has not begun looks for work before it sleeps.
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

/// Whether `done` comes true soon.
fn spin(done: &impl Fn() -> bool) -> bool {
    /// Looks between two looks at the clock.
    const LOOKS: usize = 64;
    let start = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if done() {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() >= SPIN {
            return false;
        }
    }
}

/// No state is left half changed by a panic while a lock is held.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
