//! Equality with the families' own tokenizers and templates.
//!
//! How the goldens were made is in `tests/golden/README.md` of the workspace.

mod convert;
mod families;
mod files;
mod lines;
mod model;
mod proto;
mod streams;
mod templates;
