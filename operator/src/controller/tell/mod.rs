//! Tell: what became of it, in status, Events and metrics.

mod bound;
mod events;
mod footprint;
mod metrics;
mod model;
mod replica;
mod round;
mod worker;

pub use events::{Note, notes};
pub use footprint::{footprint, untold};
pub use metrics::{InState, Metrics, Stage};
pub use model::status as model_status;
pub use replica::tell as replica;
pub use worker::status as worker_status;
