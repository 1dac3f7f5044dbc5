//! How fast linear layers are, next to what the machine can do.
//!
//! ```sh
//! cargo run -p hearth-kernels --example linear -- [TYPE | INSTRUCTION SET]...
//! ```
//!
//! For each type: decoding (1 and 8 rows) as bytes of weights a second, next to a
//! plain read of as many bytes; prefill (512 rows) as operations a second, next to a
//! loop of nothing but multiply-adds in registers. Every figure is the best of some
//! repetitions, as a machine has other things to do.

mod limits;

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hearth_kernels::arena::Arena;
use hearth_kernels::isa::Isa;
use hearth_kernels::linear::{Activations, Matrix, OutView, Quantized, multiply, quantize};
use hearth_kernels::pack::{Layout, TILE, pack_rows};
use hearth_model::DType;

/// Weights of a decoding step: more than caches hold.
const STEP_BYTES: usize = 192 << 20;

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let types: Vec<_> = DType::READABLE.iter().filter(|t| asked.iter().any(|a| a == t.name())).collect();
    let types = if types.is_empty() { DType::READABLE.iter().collect() } else { types };
    let sets: Vec<_> = Isa::available().filter(|isa| *isa != Isa::Portable).collect();
    let named: Vec<_> = sets.iter().filter(|isa| asked.contains(&format!("{isa:?}"))).copied().collect();
    let sets = if named.is_empty() { sets } else { named };
    let mut machine = Vec::new();
    for threads in [1, 2] {
        let read = limits::read_bytes(threads, STEP_BYTES) / 1e9;
        let bytes = limits::byte_operations(threads) / 1e9;
        let floats = limits::float_operations(threads) / 1e9;
        println!(
            "{threads} threads: read {read:.1} GB/s, bytes {bytes:.0} GOP/s, floats {floats:.0} GFLOP/s"
        );
        machine.push((threads, read, bytes, floats));
    }
    for isa in sets {
        println!(
            "\n{isa:?}    threads  1 row GB/s     8 rows GB/s     512 × 1536×576 GOP/s  512 × 2048×2048 GOP/s"
        );
        for dtype in &types {
            let layers = Layers::new(**dtype, 1536, 576, STEP_BYTES);
            let square = Layers::new(**dtype, 2048, 2048, 1);
            for (threads, read, bytes, floats) in &machine {
                let peak = if dtype.block_len() > 1 { bytes } else { floats };
                let decode = |rows| layers.bytes() as f64 / layers.time(isa, *threads, rows) / 1e9;
                let prefill =
                    |layers: &Layers| layers.operations(512) / layers.time(isa, *threads, 512) / 1e9;
                let (one, eight) = (decode(1), decode(8));
                let (small, large) = (prefill(&Layers::new(**dtype, 1536, 576, 1)), prefill(&square));
                println!(
                    "{:12} {threads} {one:9.1} {:4.0} % {eight:9.1} {:4.0} % {small:12.0} {:4.0} % {large:12.0} {:4.0} %",
                    dtype.name(),
                    100.0 * one / read,
                    100.0 * eight / read,
                    100.0 * small / peak,
                    100.0 * large / peak,
                );
            }
        }
    }
}

/// Equal matrices, one after another, as the layers of a model are.
struct Layers {
    layout: Layout,
    count: usize,
    packed: Arena,
}

impl Layers {
    /// As many as take `bytes`, and at least one.
    fn new(dtype: DType, outputs: usize, inputs: usize, bytes: usize) -> Self {
        let inputs = inputs.next_multiple_of(dtype.block_len() as usize);
        let layout = Layout::of(dtype, outputs as u64, inputs as u64).expect("a shape that can be packed");
        let count = (bytes / layout.bytes()).max(1);
        // Small codes and a small scale, whatever the type: no number is too large.
        let file = vec![0x11; layout.row_bytes() * outputs];
        let mut packed = Arena::new(layout.bytes() * count).expect("memory");
        for matrix in packed.chunks_exact_mut(layout.bytes()) {
            pack_rows(&layout, 0, &file, matrix).expect("whole rows");
        }
        Self { layout, count, packed }
    }

    fn bytes(&self) -> usize {
        self.packed.len()
    }

    fn operations(&self, rows: usize) -> f64 {
        2.0 * (rows * self.count * self.layout.outputs() * self.layout.inputs()) as f64
    }

    /// Seconds that all layers take for `rows` rows.
    fn time(&self, isa: Isa, threads: usize, rows: usize) -> f64 {
        let x: Vec<f32> = (0..rows * self.layout.inputs()).map(|i| (i % 61) as f32 / 60.0 - 0.5).collect();
        let mut quantized = Quantized::default();
        let activations = if self.layout.is_quantized() {
            quantize(isa, &x, self.layout.inputs(), &mut quantized);
            Activations::from(&quantized)
        } else {
            Activations::Plain(&x)
        };
        let mut out = vec![0.0; rows * self.layout.outputs()];
        let view = OutView::new(&mut out, rows, self.layout.outputs());
        let tiles = self.layout.tiles();
        best(threads, |thread| {
            let range = tiles * thread / threads..tiles * (thread + 1) / threads;
            let columns = range.start * TILE..(range.end * TILE).min(self.layout.outputs());
            // SAFETY: threads have ranges of their own.
            let mut part = unsafe { view.columns(columns) };
            for bytes in self.packed.chunks_exact(self.layout.bytes()) {
                let matrix = Matrix::new(self.layout, bytes);
                multiply(isa, &matrix, activations, range.clone(), &mut part);
            }
            black_box(&mut part);
        })
    }
}

/// Seconds from the start of `work` on all threads to its end on the last, at best.
fn best(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let (barrier, stop) = (Barrier::new(threads), AtomicBool::new(false));
    let run = |thread| {
        let (begun, mut best) = (Instant::now(), Duration::MAX);
        loop {
            barrier.wait();
            if stop.load(Ordering::SeqCst) {
                return best.as_secs_f64();
            }
            let began = Instant::now();
            work(thread);
            barrier.wait();
            best = best.min(began.elapsed());
            if thread == 0 && begun.elapsed() > Duration::from_millis(250) {
                stop.store(true, Ordering::SeqCst);
            }
        }
    };
    let run = &run;
    std::thread::scope(|scope| {
        (1..threads).for_each(|thread| drop(scope.spawn(move || run(thread))));
        run(0)
    })
}
