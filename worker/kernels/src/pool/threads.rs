//! How many threads compute.

/// The processors that this process may use: what its affinity and its control group
/// leave it, and at least one. A fraction of a processor is left to the process's
/// other threads.
#[must_use]
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_is_one_at_least() {
        assert!(super::default_threads() >= 1);
    }
}
