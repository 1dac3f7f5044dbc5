//! Equality with independent implementations on a real model's file.
//!
//! How the goldens were made is in `tests/golden/README.md` of the workspace.

mod files;
mod greedy;
mod logits;
mod tokens;
