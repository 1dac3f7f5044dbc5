//! Hearth's controller and gateway.
fn main() {}
