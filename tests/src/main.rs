//! End-to-end suites against a real cluster.
fn main() {}
