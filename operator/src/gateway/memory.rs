//! How many bytes of requests the gateway holds at a time, so that clients cannot make it take
//! more memory than its Pod has.
//!
//! A request is paid for byte by byte while it comes, then for what it is read into, and from
//! then on for what is sent on, until its answer has ended. Whoever finds nothing left is
//! refused at once: a queue for memory would itself be held in memory.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// What all requests share. Clones share the same.
#[derive(Clone, Debug)]
pub struct Memory {
    free: Arc<Semaphore>,
    total: u32,
}

impl Memory {
    /// Room for so many bytes.
    pub fn new(total: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Nothing yet, to be grown.
    ///
    /// # Errors
    /// Never in practice: the semaphore is not closed.
    pub fn begin(&self) -> Result<Held, Refusal> {
        let permit = self.take(0)?;
        Ok(Held { memory: self.clone(), permit })
    }

    /// Bytes that are held by all requests.
    pub fn used(&self) -> u64 {
        let free = u64::try_from(self.free.available_permits()).unwrap_or(u64::MAX);
        u64::from(self.total).saturating_sub(free)
    }

    fn take(&self, bytes: u32) -> Result<OwnedSemaphorePermit, Refusal> {
        let taken = self.free.clone().try_acquire_many_owned(bytes);
        taken.map_err(|_| Refusal::NoMemory { total: self.total })
    }
}

/// Bytes that one request holds. Dropping it gives them back.
#[derive(Debug)]
pub struct Held {
    memory: Memory,
    permit: OwnedSemaphorePermit,
}

impl Held {
    /// Bytes that are held.
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Holds so many more.
    ///
    /// # Errors
    /// When others hold them. What was held before still is.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.resize(self.bytes().saturating_add(bytes))
    }

    /// Holds exactly so many.
    ///
    /// # Errors
    /// When others hold what is missing, or nobody ever has so many. What was held before still
    /// is.
    pub fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        let total = self.memory.total;
        let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes <= total);
        let Some(bytes) = bytes else { return Err(Refusal::TooMuchMemory { total }) };
        match (bytes as usize).checked_sub(self.bytes()) {
            Some(more) => {
                let more = u32::try_from(more).unwrap_or(u32::MAX);
                self.permit.merge(self.memory.take(more)?);
            }
            None => drop(self.permit.split(self.bytes() - bytes as usize)),
        }
        Ok(())
    }
}

/// [`Held`] among the extensions of a request, which are cloned: whoever takes it first has it.
#[derive(Clone, Debug)]
pub struct Parcel(Arc<Mutex<Option<Held>>>);

impl Parcel {
    /// With this in it.
    pub fn of(held: Held) -> Self {
        Self(Arc::new(Mutex::new(Some(held))))
    }

    /// What is in it, once.
    pub fn take(&self) -> Option<Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let memory = Memory::new(100);
        let mut first = memory.begin().unwrap();
        first.grow(60).unwrap();
        let mut second = memory.begin().unwrap();
        assert_eq!(second.grow(41), Err(Refusal::NoMemory { total: 100 }));
        second.grow(40).unwrap();
        assert_eq!(memory.used(), 100);
        first.resize(10).unwrap();
        assert_eq!((first.bytes(), memory.used()), (10, 50));
        assert_eq!(second.resize(101), Err(Refusal::TooMuchMemory { total: 100 }));
        assert_eq!(second.bytes(), 40, "a refusal changes nothing");
        drop((first, second));
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_parcel_is_taken_once() {
        let memory = Memory::new(10);
        let mut held = memory.begin().unwrap();
        held.grow(7).unwrap();
        let parcel = Parcel::of(held);
        let copy = parcel.clone();
        let held = copy.take().unwrap();
        assert!(parcel.take().is_none());
        drop((parcel, copy));
        assert_eq!(memory.used(), 7);
        drop(held);
        assert_eq!(memory.used(), 0);
    }
}
