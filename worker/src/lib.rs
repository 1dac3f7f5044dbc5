//! The process that serves models on one machine.
