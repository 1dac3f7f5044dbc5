//! The program against the reference, on the reference's terms and on its own.

mod files;
mod one_path;
mod same;
