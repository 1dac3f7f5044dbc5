//! Says on a terminal how far the measuring is.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::{Plan, Work};

/// A bar on standard error; nothing where that is no terminal.
#[derive(Clone)]
pub(super) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// One step a repetition.
    pub(super) fn new(plan: &Plan, repetitions: u32) -> Self {
        let steps = plan.works().len() as u64 * u64::from(repetitions);
        // Written now and then, so that it takes no time from what is measured.
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(4));
        if let Ok(style) = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len}  {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message("loading");
        Self { bar }
    }

    /// Bytes or steps of the load, as the engine tells them.
    pub(super) fn loading(&self, done: u64, total: u64) {
        if let Some(percent) = done.saturating_mul(100).checked_div(total) {
            self.bar.set_message(format!("loading {percent} %"));
        }
    }

    /// A repetition is done.
    pub(super) fn step(&self, work: &Work) {
        self.bar.set_message(work.to_string());
        self.bar.inc(1);
    }

    /// The bar goes away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
