//! Hearth's controller and gateway.

pub mod ca;
pub mod check;
pub mod controller;
pub mod crds;
pub mod gateway;
pub mod process;
