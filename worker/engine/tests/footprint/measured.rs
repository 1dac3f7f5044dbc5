//! What the reference takes.

use std::path::Path;
use std::sync::mpsc;

use hearth_engine::{Backend, Compute, Engine, LoadEvent, LoadSpec};
use hearth_model::{Footprint, Shape};
use hearth_program::{PREFILL_CHUNK, Program, Row, Stage};
use hearth_reference::{KvCache, KvStorage, ReferenceProgram};
use hearth_text::TextModel;

use crate::{heap, read, resident};

/// A model whose sequences are full.
pub(crate) struct Filled {
    /// Bytes of the heap by what took them; the overhead is the text side and
    /// what the first step leaves behind, such as a thread's buffers for products.
    pub(crate) heap: Footprint,
    /// The most bytes of the heap at a time.
    pub(crate) heap_peak: u64,
    /// The most bytes of memory that the process had, over what it began with.
    pub(crate) resident_peak: u64,
}

/// Reads the model once, and fills the sequences of every shape.
pub(crate) fn fill(file: &Path, shapes: &[Shape]) -> Vec<Filled> {
    resident::forget_most();
    let (start, resident_start) = (heap::live(), resident::now());
    let text = TextModel::new(&read(file), shapes[0].context_tokens).unwrap();
    let text_bytes = heap::live() - start;

    let kept = KvStorage::Kept(shapes[0].kv_type);
    let mut program = ReferenceProgram::open(file, kept, Compute::Cpu).unwrap();
    let weights = heap::live() - start - text_bytes;

    let first = Shape { context_tokens: 2 * PREFILL_CHUNK as u32, sequences: 2, ..shapes[0] };
    drop(widest_step(&mut program, &first));
    let overhead = heap::live() - start - weights;

    let fill = |shape: &Shape| {
        assert_eq!(KvStorage::Kept(shape.kv_type), kept, "the model was opened for one way to keep");
        let before = heap::live();
        let (caches, peak) = widest_step(&mut program, shape);
        let kv = heap::live() - before;
        let activations = peak - heap::live();
        drop(caches);
        Filled {
            heap: Footprint { weights, kv, activations, overhead },
            heap_peak: peak - start,
            resident_peak: resident::most() - resident_start,
        }
    };
    let filled = shapes.iter().map(fill).collect();
    drop(text);
    filled
}

/// Fills sequences but for their end, and then all of them in one step: the last
/// piece of one prompt, the last token of the others. That is the most that
/// requests ever do at a time. The answer is the full caches and the most bytes
/// of the heap in that step.
fn widest_step(program: &mut ReferenceProgram, shape: &Shape) -> (Vec<KvCache>, u64) {
    let context = shape.context_tokens as usize;
    let tokens = vec![7; context];
    let mut caches = (0..shape.sequences).map(|_| program.cache()).collect::<Vec<_>>();
    let ends = [context - PREFILL_CHUNK].into_iter().chain(std::iter::repeat(context - 1));
    for (cache, end) in caches.iter_mut().zip(ends.clone()) {
        for start in (0..end).step_by(PREFILL_CHUNK) {
            let tokens = &tokens[start..end.min(start + PREFILL_CHUNK)];
            let stage = Stage::Prefill { last: false };
            program.step(&mut [Row { cache, start, tokens, stage }]).unwrap();
        }
    }
    let row = |(cache, start)| {
        let tokens = &tokens[start..];
        let stage = if tokens.len() == 1 { Stage::Decode } else { Stage::Prefill { last: true } };
        Row { cache, start, tokens, stage }
    };
    let mut rows = caches.iter_mut().zip(ends).map(row).collect::<Vec<_>>();
    let (logits, peak) = heap::peak(|| program.step(&mut rows).unwrap());
    assert!(logits.iter().all(Option::is_some));
    (caches, peak)
}

/// What an engine tells of the loads of these shapes.
pub(crate) fn report(file: &Path, shapes: &[Shape]) -> Vec<Footprint> {
    let engine = Engine::start(Backend::Reference(Compute::Cpu)).unwrap();
    let load = |shape: &Shape| {
        let Shape { context_tokens, sequences, kv_type } = *shape;
        let spec = LoadSpec { id: "model".into(), path: file.into(), context_tokens, sequences, kv_type };
        let (events, heard) = mpsc::channel();
        let on = move |event| {
            let _ = events.send(event);
        };
        engine.load(spec, Box::new(on)).detach();
        let measured = heard.iter().find_map(|event| match event {
            LoadEvent::Progress { .. } => None,
            LoadEvent::Loaded(measured) => Some(measured),
            LoadEvent::Failed(error) => panic!("{error}"),
        });
        let (done, unloaded) = mpsc::channel();
        let done = move |result| {
            let _ = done.send(result);
        };
        engine.unload("model", Box::new(done));
        unloaded.recv().unwrap().unwrap();
        measured.unwrap()
    };
    shapes.iter().map(load).collect()
}
