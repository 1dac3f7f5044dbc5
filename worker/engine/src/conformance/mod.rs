//! What every engine has to hold to.
//!
//! A case is a function that takes a [`Subject`]: an engine, and a model in it
//! that is asked, unloaded and loaded again. [`conformance!`](crate::conformance!)
//! makes a test of each. Nothing here waits for a time to pass: a case waits for
//! what the engine sends, and where the order of things matters it holds the
//! engine in its own callback, against the rule for callers not to block there.
//!
//! The model should choose among several tokens at temperature 1, and read at
//! least a prefill chunk and a half.

mod cancellation;
mod company;
mod limits;
mod loads;
mod requests;
mod stops;
mod subject;

pub use cancellation::{
    a_dropped_handle_cancels_within_a_step, a_listener_that_is_gone_frees_its_place,
    a_waiting_request_is_cancelled, dropping_the_engine_aborts,
};
pub use company::{
    company_changes_nothing, greedy_ignores_the_seed, many_requests_all_end, more_requests_than_places_queue,
    seeds_repeat_and_differ,
};
pub use limits::{
    max_tokens_ends_with_length, requests_end_once, text_is_that_of_the_tokens, the_context_ends_with_length,
    usage_counts_tokens,
};
pub use loads::{
    a_broken_file_fails_once, a_cancelled_load_leaves_nothing, a_load_out_of_range_names_field_and_value,
    an_id_is_taken_once, an_unknown_model_is_not_unloaded, unloading_a_load_cancels_it,
    unloading_aborts_and_gives_memory_back,
};
pub use requests::{
    prompts_over_the_context_name_both_numbers, requests_out_of_range_name_field_and_value,
    unknown_models_are_named,
};
pub use stops::{
    near_misses_are_given_out, stop_sequences_are_named_and_not_given_out,
    the_sequence_that_is_met_first_ends,
};
pub use subject::Subject;

/// Makes a test of every case. The argument is a function that takes a case,
/// `fn(Subject)`, and runs it on a fresh engine.
#[macro_export]
macro_rules! conformance {
    ($run:path) => {
        $crate::conformance! {
            $run:
            a_broken_file_fails_once
            a_cancelled_load_leaves_nothing
            a_dropped_handle_cancels_within_a_step
            a_listener_that_is_gone_frees_its_place
            a_load_out_of_range_names_field_and_value
            a_waiting_request_is_cancelled
            an_id_is_taken_once
            an_unknown_model_is_not_unloaded
            company_changes_nothing
            dropping_the_engine_aborts
            greedy_ignores_the_seed
            many_requests_all_end
            max_tokens_ends_with_length
            more_requests_than_places_queue
            near_misses_are_given_out
            prompts_over_the_context_name_both_numbers
            requests_end_once
            requests_out_of_range_name_field_and_value
            seeds_repeat_and_differ
            stop_sequences_are_named_and_not_given_out
            text_is_that_of_the_tokens
            the_context_ends_with_length
            the_sequence_that_is_met_first_ends
            unknown_models_are_named
            unloading_a_load_cancels_it
            unloading_aborts_and_gives_memory_back
            usage_counts_tokens
        }
    };
    ($run:path: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $run($crate::conformance::$case);
            }
        )*
    };
}
