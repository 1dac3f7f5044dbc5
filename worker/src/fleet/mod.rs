//! All replicas of this worker: what is wanted of them, and how they get there.
//!
//! [`state`] is what is known, [`step`] takes in one event and says what to do,
//! both without a clock, a device or a network. [`run`] is the one task that
//! owns a state, carries its effects out and feeds their results back in.

pub mod backoff;
pub mod death;
mod devices;
mod effects;
mod engines;
pub mod essence;
pub mod event;
mod expire;
mod handle;
pub mod memory;
pub mod progress;
mod room;
pub mod route;
pub mod run;
mod schedule;
pub mod state;
pub mod step;
mod tasks;
#[cfg(test)]
mod tests;

pub use handle::{ApplyError, FleetHandle};
pub use run::{Fleet, Setup};
