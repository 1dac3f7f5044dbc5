//! Loading and unloading.

use hearth_engine::{LoadError, LoadSpec, RequestError, UnknownModel};

use crate::subject::{Subject, greedy, release, wait};

/// Where loads are cancelled: before anything is read, and when all is.
const POINTS: [fn(u64, u64) -> bool; 2] = [|_, _| true, |done, total| done == total];

fn other(subject: &Subject) -> LoadSpec {
    LoadSpec { id: "other".into(), ..subject.spec.clone() }
}

/// Unloads the model and sees that it is gone.
fn make_room(subject: &Subject) {
    subject.unload(&subject.spec.id).unwrap();
    is_gone(subject);
}

fn is_gone(subject: &Subject) {
    let error = subject.ask(greedy("are you there?", 3)).answer().failed().clone();
    assert_eq!(error, RequestError::UnknownModel { id: subject.spec.id.clone() });
}

/// Nothing with this id is left, and the device has room for the model.
fn nothing_is_left(subject: &Subject, id: &str) {
    assert_eq!(subject.unload(id), Err(UnknownModel { id: id.into() }));
    subject.start_load(&subject.spec).outcome().unwrap();
    subject.is_alive();
}

/// What runs ends, what comes after finds no model, and the memory is there for
/// the next one: as often as one likes.
pub(crate) fn unloading_aborts_and_gives_memory_back(subject: Subject) {
    for _ in 0..3 {
        let (running, go) = subject.ask_held(greedy("I run", 100));
        let others =
            (0..2 * subject.places()).map(|_| subject.ask(greedy("so do I", 100))).collect::<Vec<_>>();
        let unloaded = subject.start_unload(&subject.spec.id);
        release(go);
        assert_eq!(wait(&unloaded), Ok(()));
        let running = running.answer();
        running.aborted();
        assert_eq!(running.deltas, 1);
        for other in others {
            // Those that were still being read find no model.
            let error = other.answer().failed().clone();
            let ended = matches!(error, RequestError::Aborted { .. } | RequestError::UnknownModel { .. });
            assert!(ended, "{error}");
        }
        is_gone(&subject);
        nothing_is_left(&subject, &subject.spec.id);
    }
}

/// What cannot be loaded fails once, says why, and leaves nothing.
pub(crate) fn a_broken_file_fails_once(subject: Subject) {
    make_room(&subject);
    let good = std::fs::read(&subject.spec.path).unwrap();
    for (name, bytes) in [
        ("no-model", b"this is not a model".as_slice()),
        ("empty", b""),
        ("half-a-header", &good[..1000]),
        ("cut-short", &good[..good.len() - 1]),
    ] {
        let path = subject.spec.path.with_extension(name);
        std::fs::write(&path, bytes).unwrap();
        let error = subject.start_load(&LoadSpec { path, ..other(&subject) }).outcome().unwrap_err();
        assert!(matches!(error, LoadError::Model { .. }), "{name}: {error}");
    }
    let path = subject.spec.path.with_extension("missing");
    let error = subject.start_load(&LoadSpec { path, ..other(&subject) }).outcome().unwrap_err();
    assert!(matches!(error, LoadError::File { .. }), "{error}");
    nothing_is_left(&subject, "other");
}

/// What is out of range is named, with what was given.
pub(crate) fn a_load_out_of_range_names_field_and_value(subject: Subject) {
    let spec = || other(&subject);
    for (field, value, spec) in [
        ("id", "empty", LoadSpec { id: String::new(), ..spec() }),
        ("context_tokens", "1", LoadSpec { context_tokens: 1, ..spec() }),
        ("context_tokens", "4294967295", LoadSpec { context_tokens: u32::MAX, ..spec() }),
        ("sequences", "0", LoadSpec { sequences: 0, ..spec() }),
    ] {
        match subject.start_load(&spec).outcome().unwrap_err() {
            LoadError::Invalid { field: named, value: given, message: _ } => {
                assert_eq!((named, given.as_str()), (field, value));
            }
            error => panic!("`{field}` {value}: {error}"),
        }
    }
    subject.is_alive();
}

/// Letting go of a load ends it, and nothing of it is left.
pub(crate) fn a_cancelled_load_leaves_nothing(subject: Subject) {
    make_room(&subject);
    for at in POINTS.into_iter().cycle().take(4) {
        let (load, go) = subject.start_load_held(&other(&subject), at);
        let error = load.cancel_with(go).unwrap_err();
        assert!(matches!(error, LoadError::Cancelled), "{error}");
    }
    nothing_is_left(&subject, "other");
}

/// Unloading what still loads cancels the load, and is through when nothing of it
/// is left.
pub(crate) fn unloading_a_load_cancels_it(subject: Subject) {
    make_room(&subject);
    for at in POINTS {
        let (load, go) = subject.start_load_held(&other(&subject), at);
        let unloaded = subject.start_unload("other");
        release(go);
        assert_eq!(wait(&unloaded), Ok(()));
        let error = load.outcome().unwrap_err();
        assert!(matches!(error, LoadError::Cancelled), "{error}");
    }
    nothing_is_left(&subject, "other");
}

/// A second model under the same id is refused, and the first goes on.
pub(crate) fn an_id_is_taken_once(subject: Subject) {
    let error = subject.start_load(&subject.spec).outcome().unwrap_err();
    assert!(matches!(&error, LoadError::AlreadyLoaded { id } if *id == subject.spec.id), "{error}");
    subject.is_alive();
}

/// Unloading what is not there says so.
pub(crate) fn an_unknown_model_is_not_unloaded(subject: Subject) {
    assert_eq!(subject.unload("nobody"), Err(UnknownModel { id: "nobody".into() }));
    subject.is_alive();
}
