//! Whole rounds over a world that is made up: what is decided is carried out
//! by hand, and the next round sees it.

mod machines;
mod models;
mod orders;
mod world;
