//! What of a device's memory is whose.

use std::time::SystemTime;

/// Smaller changes are not told: a compositor breathes, and nothing that is
/// decided by these numbers would change.
const NOISE: u64 = 32 << 20;

/// A device's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the device has, or what we may use of it.
    pub total: u64,
    /// In use by others than our models. What an engine process itself takes,
    /// such as a device context, counts here too: it is nobody's model.
    pub others: u64,
    /// When this was found; moves only with the numbers.
    pub measured_at: SystemTime,
}

/// What our own models take on a device.
#[derive(Clone, Copy, Debug)]
pub struct Ours {
    /// Bytes, as measured or planned.
    pub bytes: u64,
    /// Whether a reading shows just these bytes: nothing is being loaded or
    /// unloaded.
    pub settled: bool,
    /// Whether a reading of the device shows them at all. Not when engines
    /// compute elsewhere than on the device that they stand for.
    pub shown: bool,
}

impl Memory {
    /// Takes a reading in. The result is `self` unless something changed by more
    /// than noise.
    pub fn update(before: Option<Self>, total: u64, used: u64, at: SystemTime, ours: Ours) -> Self {
        let now = Self {
            total,
            others: match before {
                // What is on its way would be taken for somebody else's.
                Some(before) if !ours.settled => before.others,
                _ if ours.shown => used.saturating_sub(ours.bytes),
                _ => used,
            },
            measured_at: at,
        };
        match before {
            Some(before) if before.total == total && before.others.abs_diff(now.others) < NOISE => before,
            _ => now,
        }
    }

    /// Neither others' nor ours.
    pub fn free(&self, ours: u64) -> u64 {
        self.total.saturating_sub(self.others).saturating_sub(ours)
    }

    /// What ours may take altogether, leaving the reserve to others.
    pub fn budget(&self, reserve: u64) -> u64 {
        self.total.saturating_sub(self.others).saturating_sub(reserve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn read(before: Option<Memory>, used: u64, bytes: u64, settled: bool, shown: bool) -> Memory {
        Memory::update(before, 24 * GIB, used, SystemTime::now(), Ours { bytes, settled, shown })
    }

    #[test]
    fn others_are_what_is_not_ours() {
        let idle = read(None, GIB, 0, true, true);
        assert_eq!(idle.others, GIB);
        // While a load is under way its bytes are not taken for others'.
        let loading = read(Some(idle), 6 * GIB, 8 * GIB, false, true);
        assert_eq!(loading, idle);
        let loaded = read(Some(loading), 10 * GIB, 8 * GIB, true, true);
        assert_eq!(loaded.others, 2 * GIB);
        assert_eq!(loaded.free(8 * GIB), 14 * GIB);
        assert_eq!(loaded.budget(GIB), 21 * GIB);
    }

    #[test]
    fn what_computes_elsewhere_is_taken_off_all_the_same() {
        let memory = read(None, GIB, 8 * GIB, true, false);
        assert_eq!(memory.others, GIB);
        assert_eq!(memory.free(8 * GIB), 15 * GIB);
    }

    #[test]
    fn noise_is_not_told() {
        let before = read(None, GIB, 0, true, true);
        assert_eq!(read(Some(before), GIB + NOISE - 1, 0, true, true), before);
        assert_ne!(read(Some(before), GIB + NOISE, 0, true, true), before);
    }
}
