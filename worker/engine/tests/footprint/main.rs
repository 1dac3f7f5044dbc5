//! The footprint that is predicted from a file's header against what the
//! reference takes on the CPU, part by part.
//!
//! Three measurements stand beside the prediction: what the engine reports of a
//! load, what is taken from the heap while sequences fill their context, and
//! what the kernel gives the process. The last two know nothing of models.
#![cfg(target_os = "linux")]

mod heap;
mod measured;
mod resident;

use std::path::{Path, PathBuf};

use hearth_model::footprint::{DeviceKind, Overheads};
use hearth_model::{Footprint, KvType, Model, Shape, WeightStorage, footprint, gguf};

use measured::Filled;

/// Filled to the last token. From small to large: a process keeps what it was
/// given, so the kernel's count of a smaller one would be that of the larger
/// one before it.
const FILLED: [Shape; 2] = [
    Shape { context_tokens: 512, sequences: 1, kv_type: KvType::F16 },
    Shape { context_tokens: 2048, sequences: 2, kv_type: KvType::F16 },
];
/// Loaded and not filled: that would take minutes.
const LOADED: [Shape; 2] = [
    Shape { context_tokens: 8192, sequences: 4, kv_type: KvType::F16 },
    Shape { context_tokens: 8192, sequences: 4, kv_type: KvType::Q8_0 },
];

const MIB: f64 = (1 << 20) as f64;

#[test]
fn a_prediction_is_what_is_taken() {
    let file = model_file();
    let overheads = Overheads::DEFAULT;
    let dims = read(&file).dims;
    let predict = |shape| footprint(&dims, shape, WeightStorage::F32, overheads.of(DeviceKind::Cpu)).unwrap();

    let filled = measured::fill(&file, &FILLED);
    let shapes = FILLED.iter().chain(&LOADED).copied().collect::<Vec<_>>();
    let reported = measured::report(&file, &shapes);

    for (index, (shape, reported)) in shapes.iter().zip(&reported).enumerate() {
        print(shape, &predict(shape), reported, filled.get(index));
    }
    for (shape, reported) in shapes.iter().zip(&reported) {
        let predicted = predict(shape);
        // Tensors are known to the byte.
        assert_eq!((predicted.weights, predicted.kv), (reported.weights, reported.kv), "{shape:?}");
        within(5, predicted.total(), reported.total(), shape, "the engine's report");
    }
    for (shape, Filled { heap, heap_peak, resident_peak }) in FILLED.iter().zip(&filled) {
        let predicted = predict(shape);
        within(1, predicted.weights, heap.weights, shape, "weights on the heap");
        // A page has handles of some 700 bytes beside its tensor, 3 % where
        // pages are as small as this model's. The allowance pays for them.
        within(4, predicted.kv, heap.kv, shape, "keys and values on the heap");
        within(15, predicted.activations, heap.activations, shape, "scratch on the heap");
        assert!(
            heap.overhead <= predicted.overhead,
            "{shape:?}: the allowance is too small for {}",
            heap.overhead
        );
        within(5, predicted.total(), *heap_peak, shape, "all of the heap");
        // With what the allocator keeps of scratch that was given back.
        within(15, predicted.total(), *resident_peak, shape, "resident memory");
    }
}

fn within(percent: u64, predicted: u64, measured: u64, shape: &Shape, what: &str) {
    let allowed = measured / 100 * percent;
    let Shape { context_tokens, sequences, kv_type } = shape;
    assert!(
        predicted.abs_diff(measured) <= allowed,
        "{context_tokens} tokens, {sequences} sequences, {kv_type:?}: {what}: \
         {predicted} bytes predicted, {measured} measured, more than {percent} % apart"
    );
}

fn print(shape: &Shape, predicted: &Footprint, reported: &Footprint, filled: Option<&Filled>) {
    let Shape { context_tokens, sequences, kv_type } = shape;
    println!("\ncontext {context_tokens}, sequences {sequences}, KV {kv_type:?}; MiB");
    println!("{:12} {:>10} {:>10} {:>10}", "", "predicted", "reported", "heap");
    let line = |part: &str, predicted: u64, reported: u64, heap: Option<u64>| {
        let heap = heap.map_or_else(|| "-".into(), |bytes| format!("{:.1}", bytes as f64 / MIB));
        let (predicted, reported) = (predicted as f64 / MIB, reported as f64 / MIB);
        println!("{part:12} {predicted:>10.1} {reported:>10.1} {heap:>10}");
    };
    let heap = filled.map(|filled| filled.heap);
    line("weights", predicted.weights, reported.weights, heap.map(|heap| heap.weights));
    line("kv", predicted.kv, reported.kv, heap.map(|heap| heap.kv));
    line("activations", predicted.activations, reported.activations, heap.map(|heap| heap.activations));
    line("overhead", predicted.overhead, reported.overhead, heap.map(|heap| heap.overhead));
    line("total", predicted.total(), reported.total(), filled.map(|filled| filled.heap_peak));
    if let Some(Filled { heap_peak, resident_peak, .. }) = filled {
        let apart = |measured: u64| 100.0 * (predicted.total() as f64 / measured as f64 - 1.0);
        let resident = *resident_peak as f64 / MIB;
        println!(
            "predicted to heap {:+.1} %; resident {resident:.1}, predicted to resident {:+.1} %",
            apart(*heap_peak),
            apart(*resident_peak)
        );
    }
}

pub(crate) fn read(file: &Path) -> Model {
    Model::from_gguf(&gguf::read_file(file).unwrap()).unwrap()
}

/// # Panics
/// It is not there: a test that is skipped proves nothing.
fn model_file() -> PathBuf {
    let by_default = || {
        let home = std::env::var_os("HOME").unwrap_or_default();
        Path::new(&home).join(".cache/hearth/models/SmolLM2-135M-Instruct.Q4_1.gguf")
    };
    let path = std::env::var_os("HEARTH_TEST_MODEL").map_or_else(by_default, PathBuf::from);
    assert!(
        path.is_file(),
        "no model at {}: run deploy/dev-cluster/models.sh, or set HEARTH_TEST_MODEL",
        path.display()
    );
    path
}
