//! Both engines hold to it, on a model that a test can hold.

use hearth_model::testing::tiny_llama;

use super::{Subject, run};
use crate::{Backend, Compute, Engine, SimulatedConfig};

fn subject(directory: &tempfile::TempDir, backend: Backend) -> Subject {
    let path = directory.path().join("tiny.gguf");
    std::fs::write(&path, tiny_llama(7)).unwrap();
    Subject {
        start: Box::new(move || Engine::start(backend.clone()).unwrap()),
        path,
        // As many as the tiny model can do: two pieces of a prompt.
        context_tokens: 256,
    }
}

#[test]
fn the_reference_conforms() {
    let directory = tempfile::tempdir().unwrap();
    run(&subject(&directory, Backend::Reference(Compute::Cpu)));
}

#[test]
fn the_simulated_engine_conforms() {
    let directory = tempfile::tempdir().unwrap();
    run(&subject(&directory, Backend::Simulated(SimulatedConfig::default())));
}

#[test]
fn a_simulated_device_is_full_when_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let config = SimulatedConfig { memory_bytes: 12 << 20, ..SimulatedConfig::default() };
    let subject = subject(&directory, Backend::Simulated(config));
    let engine = subject.loaded();
    let other = crate::LoadSpec { id: "other".into(), ..subject.spec() };
    let refused = super::probe::load(&engine, other.clone()).end;
    assert!(matches!(refused, Err(crate::LoadError::OutOfMemory { .. })), "{refused:?}");
    super::probe::unload(&engine, super::ID).unwrap();
    super::probe::load(&engine, other).end.unwrap();
}
