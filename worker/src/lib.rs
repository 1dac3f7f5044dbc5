//! The process that serves models on one machine.
//!
//! `hearth-worker serve` holds the network, the model store and the
//! certificate; for each device that has a model it runs one child,
//! `hearth-worker engine`, which holds the device and nothing else. A fault of a
//! device, its driver or an engine costs that child.
//!
//! - [`spec`], [`intent`]: what the worker is asked to hold, and how that
//!   survives a restart;
//! - [`fleet`]: how it gets there, a pure state machine and the one task that
//!   carries its effects out;
//! - [`supervise`], [`child`]: the two ends of an engine process;
//! - [`host`]: devices and their memory; [`store`]: files;
//! - [`grpc`], [`http`]: what is served; [`serve`] puts all together.
//!
//! Absent: any credential of a cluster, and any knowledge of one.

pub mod child;
pub mod cli;
pub mod convert;
pub mod error;
pub mod fleet;
pub mod grpc;
pub mod host;
pub mod http;
pub mod intent;
pub mod metrics;
pub mod serve;
pub mod spec;
pub mod status;
pub mod store;
pub mod supervise;
