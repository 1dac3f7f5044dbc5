//! What the reference takes.

use std::path::Path;
use std::sync::mpsc;

use hearth_engine::{Backend, Compute, Engine, LoadEvent, LoadSpec};
use hearth_model::{Footprint, Shape};
use hearth_program::{Answers, PAGE_TOKENS, PREFILL_CHUNK, PageId, Program, Row, Stage};
use hearth_reference::{KvStorage, ReferenceProgram};
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

/// Reads the model for each shape, and fills its sequences.
pub(crate) fn fill(file: &Path, shapes: &[Shape]) -> Vec<Filled> {
    resident::forget_most();
    let (start, resident_start) = (heap::live(), resident::now());
    let text = TextModel::new(&read(file), shapes[0].context_tokens).unwrap();
    let text_bytes = heap::live() - start;

    let open = |shape: &Shape| {
        ReferenceProgram::open(file, shape, KvStorage::Kept(shape.kv_type), Compute::Cpu).unwrap()
    };
    // One page, which is taken off again: what is left are weights, and what the
    // first steps leave behind.
    let first = Shape { context_tokens: PAGE_TOKENS as u32, sequences: 1, ..shapes[0] };
    let mut program = open(&first);
    let page = program.pages_bytes();
    let weights = heap::live() - start - text_bytes - page;
    widest_step(&mut program, &first);
    let overhead = heap::live() - start - weights - page;
    drop(program);

    let fill = |shape: &Shape| {
        let before = heap::live();
        let mut program = open(shape);
        let kv = heap::live() - before - weights;
        let peak = widest_step(&mut program, shape);
        let activations = peak - heap::live();
        drop(program);
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
/// requests ever do at a time. The answer is the most bytes of the heap in that step.
fn widest_step(program: &mut ReferenceProgram, shape: &Shape) -> u64 {
    let context = shape.context_tokens as usize;
    let tokens = vec![7; context];
    let each = context / PAGE_TOKENS;
    let tables = (0..shape.sequences as usize)
        .map(|nth| [(nth * each..(nth + 1) * each).map(|page| PageId(page as u32)).collect::<Vec<_>>()])
        .collect::<Vec<_>>();
    let mut answers = Answers::default();
    let ends = [context.saturating_sub(PREFILL_CHUNK)].into_iter().chain(std::iter::repeat(context - 1));
    for (tables, end) in tables.iter().zip(ends.clone()) {
        for start in (0..end).step_by(PREFILL_CHUNK) {
            let tokens = &tokens[start..end.min(start + PREFILL_CHUNK)];
            let stage = Stage::Prefill { last: false };
            program.step(&[Row { tables, start, tokens, stage }], &mut answers).unwrap();
        }
    }
    let mut rows = Vec::new();
    for (tables, start) in tables.iter().zip(ends) {
        let tokens = &tokens[start..];
        let stage = if tokens.len() == 1 { Stage::Decode } else { Stage::Prefill { last: true } };
        rows.push(Row { tables, start, tokens, stage });
    }
    let (stepped, peak) = heap::peak(|| program.step(&rows, &mut answers));
    stepped.unwrap();
    assert!((0..rows.len()).all(|row| answers.count(row) == 1));
    peak
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
