use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::{Both, Chunks, Pool, SPIN};

/// Every chunk once, and threads by indices of their own, over many phases of all
/// sizes, with pauses in which threads fall asleep at every stage.
#[test]
fn every_chunk_runs_once() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::new(threads).unwrap();
        assert_eq!(pool.threads(), threads);
        let busy = (0..threads).map(|_| AtomicBool::new(false)).collect::<Vec<_>>();
        for phase in 0..3000 {
            let chunks = phase % 37;
            let ran = (0..chunks).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>();
            pool.run(chunks, |chunk, thread| {
                assert!(!busy[thread].swap(true, Ordering::SeqCst), "two chunks at once on a thread");
                ran[chunk].fetch_add(1, Ordering::Relaxed);
                for _ in 0..phase % 100 {
                    std::hint::spin_loop();
                }
                busy[thread].store(false, Ordering::SeqCst);
            });
            assert!(ran.iter().all(|ran| ran.load(Ordering::Relaxed) == 1));
            if phase % 100 == 0 {
                std::thread::sleep(SPIN.mul_f64(f64::from(phase as u32 % 7) / 3.0));
            }
        }
    }
}

/// What a phase wrote is there for the next one without any other synchronisation.
#[test]
fn phases_see_what_those_before_wrote() {
    let pool = Pool::new(4).unwrap();
    let mut numbers = vec![0u64; 4096];
    for phase in 1..500u64 {
        pool.over(Chunks::new(&mut numbers, 61), |_, part, _| {
            for number in part {
                assert_eq!(*number, phase - 1);
                *number = phase;
            }
        });
    }
    assert!(numbers.iter().all(|number| *number == 499));
}

#[test]
fn parts_are_disjoint_and_whole() {
    let pool = Pool::new(3).unwrap();
    let (mut a, mut b) = (vec![0u32; 100], vec![0u8; 15]);
    let parts = Both::new(Chunks::new(&mut a, 7), Chunks::new(&mut b, 1));
    pool.over(parts, |chunk, (a, b), _| {
        assert_eq!(a.len(), if chunk == 14 { 2 } else { 7 });
        a.fill(chunk as u32);
        b.fill(chunk as u8);
    });
    assert!(a.iter().enumerate().all(|(i, a)| *a as usize == i / 7));
    assert!(b.iter().enumerate().all(|(i, b)| usize::from(*b) == i));
}

#[test]
fn a_panic_reaches_the_caller_when_all_chunks_have_run() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads).unwrap();
        for bad in 0..8 {
            let ran = AtomicUsize::new(0);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, |chunk, _| {
                    ran.fetch_add(1, Ordering::Relaxed);
                    assert!(chunk != bad, "chunk {bad}");
                });
            }));
            let message = *caught.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains(&format!("chunk {bad}")), "{message}");
            if threads > 1 {
                assert_eq!(ran.load(Ordering::Relaxed), 8);
            }
            // It is as good as before.
            let again = AtomicUsize::new(0);
            pool.run(9, |_, _| {
                again.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(again.load(Ordering::Relaxed), 9);
        }
    }
}

#[test]
fn a_phase_within_a_chunk_runs_alone() {
    let pool = Pool::new(2).unwrap();
    let ran = AtomicUsize::new(0);
    pool.run(4, |_, outer| {
        pool.run(5, |_, inner| {
            assert_eq!(inner, outer);
            ran.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(ran.load(Ordering::Relaxed), 20);
}

/// Several threads may begin phases; they take turns.
#[test]
fn callers_take_turns() {
    let pool = Pool::new(3).unwrap();
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let mine = AtomicUsize::new(0);
                    pool.run(6, |_, _| {
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 3, "more chunks than threads");
                        mine.fetch_add(1, Ordering::Relaxed);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    });
                    assert_eq!(mine.load(Ordering::Relaxed), 6);
                }
            });
        }
    });
}

/// A thread that is kept from its core keeps back one chunk, not a share of them.
#[test]
fn a_slow_thread_keeps_back_one_chunk() {
    let pool = Pool::new(2).unwrap();
    let slow = Duration::from_millis(60);
    let by_other = AtomicUsize::new(0);
    let begin = Instant::now();
    pool.run(50, |chunk, _| {
        if chunk == 0 {
            std::thread::sleep(slow);
        } else {
            std::thread::sleep(Duration::from_micros(100));
            if begin.elapsed() < slow {
                by_other.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    assert!(by_other.load(Ordering::Relaxed) >= 45);
}
