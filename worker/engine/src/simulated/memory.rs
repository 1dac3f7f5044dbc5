//! The declared memory of a simulated device.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hearth_program::BuildError;

/// What the device has left.
#[derive(Debug)]
pub(super) struct Memory {
    free: Arc<AtomicU64>,
}

/// Bytes that a model holds; they return on Drop.
#[derive(Debug)]
pub(super) struct Held {
    bytes: u64,
    free: Arc<AtomicU64>,
}

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        Self { free: Arc::new(AtomicU64::new(bytes)) }
    }

    /// Takes bytes, or says how many there are.
    pub(super) fn take(&self, bytes: u64) -> Result<Held, BuildError> {
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(bytes))
            .map(|_| Held { bytes, free: Arc::clone(&self.free) })
            .map_err(|free| BuildError::OutOfMemory { needed: bytes, free })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::Memory;
    use hearth_program::BuildError;

    #[test]
    fn what_is_held_comes_back() {
        let memory = Memory::new(10);
        let held = memory.take(7).unwrap();
        assert!(matches!(memory.take(4), Err(BuildError::OutOfMemory { needed: 4, free: 3 })));
        drop(held);
        assert!(memory.take(10).is_ok());
    }
}
