//! Hearth's Kubernetes API, group `hearth.dev`, version `v1alpha1`:
//! [`ServedModel`] (what to serve) and [`Worker`] (one machine that serves).
//!
//! Types, validation, conditions and the CRDs themselves. Nothing here talks to
//! a cluster, reads a clock or opens a file.
//!
//! What the API server can check, it checks: the CEL rules and bounds sit beside
//! the fields they guard. [`validation`] says the rest.

pub mod condition;
pub mod crd;
mod duration;
pub mod meta;
pub mod model;
mod quantity;
pub mod route;
mod schema;
pub mod validation;
pub mod worker;

pub use duration::{Duration, DurationError};
pub use model::{ServedModel, ServedModelSpec, ServedModelStatus};
pub use quantity::{Quantity, QuantityError};
pub use worker::{Worker, WorkerSpec, WorkerStatus};
