//! The batcher, stepped by hand.

mod bench;
mod company;
mod computed;
mod laws;
mod pace;
mod pages;
mod property;
mod script;
mod stepped;
