//! Cancellation by letting go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends what it was given for when it is dropped.
///
/// The engine looks at it once a step, and ends a request with
/// [`RequestError::Aborted`](crate::RequestError::Aborted), a load with
/// [`LoadError::Cancelled`](crate::LoadError::Cancelled). Once the terminal item
/// is out, dropping it does nothing.
#[derive(Debug)]
#[must_use = "dropping it cancels"]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    armed: bool,
}

impl Cancel {
    pub(crate) fn new() -> (Self, Cancelled) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self { flag: Arc::clone(&flag), armed: true }, Cancelled(flag))
    }

    /// Lets the work go on without anybody who could cancel it.
    pub fn detach(mut self) {
        self.armed = false;
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        if self.armed {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

/// The engine's end of a [`Cancel`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancelled(Arc<AtomicBool>);

impl Cancelled {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Cancel;

    #[test]
    fn dropping_cancels_and_detaching_does_not() {
        let (cancel, cancelled) = Cancel::new();
        assert!(!cancelled.is_cancelled());
        drop(cancel);
        assert!(cancelled.is_cancelled());

        let (cancel, cancelled) = Cancel::new();
        cancel.detach();
        assert!(!cancelled.is_cancelled());
    }
}
