//! What callers rely on, of every engine of this crate and seen from outside.
//!
//! A case is a function that takes a [`Subject`]: an engine, and a model in it
//! that is asked, unloaded and loaded again. Nothing waits for a time to pass: a
//! case waits for what the engine sends, and where the order of things matters it
//! holds the engine in a callback, against the rule that callers must not block
//! there.

mod cancellation;
mod company;
mod limits;
mod loads;
mod model;
mod requests;
mod stops;
mod subject;

use hearth_engine::{Backend, Compute, Engine, LoadSpec, SimulatedConfig};
use hearth_model::KvType;

use subject::Subject;

/// Runs a case on a fresh engine with a tiny model of its own.
fn run(backend: Backend, kv_type: KvType, case: fn(Subject)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tiny.gguf");
    std::fs::write(&path, model::file()).unwrap();
    let spec = LoadSpec { id: "tiny".into(), path, context_tokens: 256, sequences: 3, kv_type };
    case(Subject::load(Engine::start(backend).unwrap(), spec));
}

fn reference(case: fn(Subject)) {
    run(Backend::Reference(Compute::Cpu), KvType::F16, case);
}

fn reference_with_packed_keys_and_values(case: fn(Subject)) {
    run(Backend::Reference(Compute::Cpu), KvType::Q8_0, case);
}

fn simulated(case: fn(Subject)) {
    // Room for one model and not for two, so that a leak shows.
    let memory_bytes = model::bytes_of_one() * 3 / 2;
    run(
        Backend::Simulated(SimulatedConfig { memory_bytes, ..SimulatedConfig::default() }),
        KvType::F16,
        case,
    );
}

/// Makes a test of each case on each engine.
macro_rules! conformance {
    ($($module:ident: $($case:ident)*;)*) => {
        conformance!(on reference $($module $($case)*;)*);
        conformance!(on reference_with_packed_keys_and_values $($module $($case)*;)*);
        conformance!(on simulated $($module $($case)*;)*);
    };
    (on $engine:ident $($module:ident $($case:ident)*;)*) => {
        mod $engine {
            $($(
                #[test]
                fn $case() {
                    super::$engine(crate::$module::$case);
                }
            )*)*
        }
    };
}

conformance! {
    cancellation:
        a_dropped_handle_cancels_within_a_step
        a_listener_that_is_gone_frees_its_place
        a_waiting_request_is_cancelled
        dropping_the_engine_aborts;
    company:
        company_changes_nothing
        greedy_ignores_the_seed
        many_requests_all_end
        more_requests_than_places_queue
        seeds_repeat_and_differ;
    limits:
        max_tokens_ends_with_length
        requests_end_once
        text_is_that_of_the_tokens
        the_context_ends_with_length
        usage_counts_tokens;
    loads:
        a_broken_file_fails_once
        a_cancelled_load_leaves_nothing
        a_load_out_of_range_names_field_and_value
        an_id_is_taken_once
        an_unknown_model_is_not_unloaded
        unloading_a_load_cancels_it
        unloading_aborts_and_gives_memory_back;
    requests:
        prompts_over_the_context_name_both_numbers
        requests_out_of_range_name_field_and_value
        unknown_models_are_named;
    stops:
        near_misses_are_given_out
        stop_sequences_are_named_and_not_given_out
        the_sequence_that_is_met_first_ends;
}
