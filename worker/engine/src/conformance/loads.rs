//! Loading and unloading.

use std::sync::mpsc;

use crate::{Item, LoadError, LoadSpec, Phase, RequestError};

use super::probe::{Heard, answer, ask, begin_load, endless, load, next, of_length, unload, wait_load};
use super::{ID, Subject};

pub(super) fn one_end(subject: &Subject) {
    let engine = (subject.start)();
    let Heard { progress, end } = load(&engine, subject.spec());
    let measured = end.unwrap_or_else(|error| panic!("the model does not load: {error}"));
    assert!(measured.weights > 0 && measured.kv > 0, "nothing was allocated: {measured:?}");
    for phase in [Phase::Loading, Phase::Warming] {
        let steps = progress.iter().filter(|(p, ..)| *p == phase).collect::<Vec<_>>();
        assert!(!steps.is_empty(), "no progress of {phase:?}");
        assert!(steps.is_sorted_by_key(|(_, done, _)| done), "progress went back: {steps:?}");
        assert!(steps.iter().all(|(_, done, total)| done <= total), "more than all was done: {steps:?}");
        assert!(steps.last().is_some_and(|(_, done, total)| done == total), "not all was done: {steps:?}");
    }
}

pub(super) fn refusals(subject: &Subject) {
    let engine = subject.loaded();
    let other = LoadSpec { id: "other".into(), ..subject.spec() };
    let refused = |spec: LoadSpec| match load(&engine, spec).end {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    };
    let garbage = std::env::temp_dir().join(format!("hearth-conformance-{}", std::process::id()));
    std::fs::write(&garbage, b"no model at all, whatever its name says").expect("a file can be written");

    let error = refused(subject.spec());
    assert!(matches!(&error, LoadError::AlreadyLoaded { id } if id == ID), "{error:?}");
    let error = refused(LoadSpec { path: "/nonexistent/model.gguf".into(), ..other.clone() });
    assert!(matches!(&error, LoadError::File { .. }), "{error:?}");
    let error = refused(LoadSpec { path: garbage.clone(), ..other.clone() });
    assert!(matches!(&error, LoadError::Model { .. }), "{error:?}");
    for (field, spec) in [
        ("id", LoadSpec { id: String::new(), ..other.clone() }),
        ("sequences", LoadSpec { sequences: 0, ..other.clone() }),
        ("context_tokens", LoadSpec { context_tokens: 0, ..other.clone() }),
        ("context_tokens", LoadSpec { context_tokens: u32::MAX, ..other }),
    ] {
        let error = refused(spec);
        assert!(matches!(&error, LoadError::Invalid { field: f, .. } if *f == field), "{error:?}");
    }
    let _ = std::fs::remove_file(garbage);
    answer(&engine, of_length("still there", 1)).end();
}

pub(super) fn cancelled(subject: &Subject) {
    let engine = (subject.start)();
    let (cancel, events) = begin_load(&engine, subject.spec());
    drop(cancel);
    match wait_load(&events).end {
        Err(LoadError::Cancelled) => {
            let outcome = answer(&engine, of_length("a", 1));
            assert!(matches!(outcome.end, Err(RequestError::UnknownModel { .. })), "{outcome:?}");
            load(&engine, subject.spec()).end.expect("the id is free again");
        }
        // A load that was through already is one.
        Ok(_) => {
            answer(&engine, of_length("a", 1)).end();
        }
        Err(other) => panic!("{other:?}"),
    }
}

pub(super) fn unload_frees(subject: &Subject) {
    let engine = (subject.start)();
    for _ in 0..3 {
        let first = load(&engine, subject.spec()).end.expect("it fits, as nothing else is loaded");
        answer(&engine, of_length("a", 2)).end();
        assert_eq!(unload(&engine, ID), Ok(()));
        let again = load(&engine, subject.spec()).end.expect("it fits again");
        assert_eq!(first, again);
        assert_eq!(unload(&engine, ID), Ok(()));
        assert!(unload(&engine, ID).is_err(), "it was unloaded twice");
        let outcome = answer(&engine, of_length("a", 1));
        assert!(matches!(&outcome.end, Err(RequestError::UnknownModel { id }) if id == ID), "{outcome:?}");
    }
}

pub(super) fn unload_aborts(subject: &Subject) {
    let engine = subject.loaded();
    // More than run at a time, so that some wait.
    let streams = (0..4).map(|n| ask(&engine, endless(&format!("request {n}")))).collect::<Vec<_>>();
    assert!(matches!(next(&streams[0].items), Some(Item::Delta { .. })));
    assert_eq!(unload(&engine, ID), Ok(()));
    for stream in streams {
        let outcome = stream.wait();
        match &outcome.end {
            Err(RequestError::Aborted { .. }) => {}
            // What had come to the end of its context, or had not been read yet.
            Ok(_) | Err(RequestError::UnknownModel { .. }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

pub(super) fn shutdown(subject: &Subject) {
    let engine = subject.loaded();
    let (ended, over) = mpsc::channel();
    let sink = move |item: Item| {
        if let Item::Failed(error) = item {
            let _ = ended.send(error);
        }
        Ok(())
    };
    let (first, began) = mpsc::channel();
    let mut sink = Some(sink);
    let counted = move |item: Item| {
        let _ = first.send(());
        sink.as_mut().map_or(Ok(()), |sink| sink(item))
    };
    let cancel = engine.generate(ID, endless("until the end"), Box::new(counted));
    next(&began).expect("it began");
    let clone = engine.clone();
    drop(engine);
    assert!(clone.is_running(), "a handle is left");
    drop(clone);
    if let Some(error) = next(&over) {
        assert!(matches!(error, RequestError::Aborted { .. }), "{error:?}");
    }
    cancel.detach();
}
