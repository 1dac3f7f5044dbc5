//! The batcher, stepped by hand.

mod bench;
mod property;
mod stepped;
