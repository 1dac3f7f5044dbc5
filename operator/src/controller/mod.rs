//! The controller: the one writer to the cluster.
//!
//! Each round it looks ([`look`]), decides ([`decide`]), builds ([`build`]),
//! acts ([`act`]) and tells ([`tell`]). Only look, act and tell hold a client;
//! what lies between is pure.

pub mod act;
mod answer;
mod args;
pub mod build;
pub mod config;
pub mod decide;
pub mod leader;
pub mod look;
mod pace;
mod parts;
mod round;
mod run;
pub mod serve;
pub mod tell;
mod trigger;

pub use args::Args;
pub use run::{ControllerError, run};
