//! The cases, in the order in which they run.

mod certificates;
mod chart;
mod deadlines;
mod faults;
mod files;
mod gpus;
mod lifecycle;
mod requests;
mod scale;
mod serving;
mod specs;
mod store;

use std::time::Duration;

use crate::harness::{CASE_LIMIT, Case};

macro_rules! cases {
    ($limit:expr => $($module:ident::$case:ident),* $(,)?) => {
        vec![$(Case {
            name: concat!(stringify!($module), "::", stringify!($case)),
            limit: $limit,
            run: |ctx| Box::pin($module::$case(ctx)),
        }),*]
    };
}

/// Every case. What ends the installation comes last.
pub(crate) fn all() -> Vec<Case> {
    cases![CASE_LIMIT =>
        files::cut_download_resumes,
        serving::apply_ready_generate,
        serving::request_waits_while_loading,
        serving::openai_answers,
        serving::fits_nowhere_says_why,
        serving::edit_takes_effect,
        serving::delete_unloads,
        specs::rejected_by_the_api,
        specs::context_over_the_models_own,
        specs::name_clash_oldest_wins,
        files::broken_files_say_what_is_wrong,
        store::full_disk_says_bytes_and_recovers,
        requests::bad_requests_name_the_field,
        requests::bad_openai_requests_name_the_field,
        deadlines::passed_ends_at_once_and_frees_the_sequence,
        deadlines::while_loading,
        requests::client_gone_frees_the_sequence,
        certificates::rotation_is_followed,
        gpus::taken_by_another_pod,
        gpus::unhealthy_is_planned_around,
        faults::controller_restarts,
        faults::engine_killed,
        faults::worker_killed_while_controller_is_down,
        chart::monitors_find_metrics,
        chart::policies_let_through_what_is_needed,
        lifecycle::helm_test_passes,
        lifecycle::upgrade_with_requests_running,
        lifecycle::uninstall_leaves_what_keep_says,
    ]
}

/// Cases that take long and need more than the local cluster; `tests/soak.sh` runs them.
pub(crate) fn long() -> Vec<Case> {
    cases![Duration::from_secs(45 * 60) => scale::many_machines_and_models]
}
