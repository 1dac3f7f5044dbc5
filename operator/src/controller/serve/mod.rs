//! What the controller serves: the gateways' stream, probes and metrics.

mod control;
mod probes;

pub use control::ControlServer;
pub use probes::{Probes, serve_probes};
