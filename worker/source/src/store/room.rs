//! How much more the store may take.

use std::collections::HashSet;
use std::fs;
use std::sync::Weak;

use super::folder::Key;
use super::{State, Store};
use crate::{Digest, FetchError};

/// Room left on the disk beside the files: for journals and the rest of the worker.
const MARGIN_BYTES: u64 = 16 << 20;

/// Room for a file that is being fetched, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Promise<'a> {
    store: &'a Store,
    key: &'a Key,
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        self.store.state().promised.remove(self.key);
    }
}

impl Store {
    /// Bytes of all that is in the store, finished or not.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn used_bytes(&self) -> Result<u64, FetchError> {
        self.shared.folder.used_bytes()
    }

    /// Bytes that the store could hold: what it holds and what is free, and no more
    /// than its quota.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn capacity_bytes(&self) -> Result<u64, FetchError> {
        let free = self.shared.folder.free_bytes()?.saturating_sub(MARGIN_BYTES);
        let disk = self.used_bytes()?.saturating_add(free);
        Ok(self.quota.map_or(disk, |quota| disk.min(quota)))
    }

    /// Bytes that [`Store::collect`] would free if it had to: fetches that nobody is
    /// at, and files that are neither in `keep` nor held as a [`super::Blob`].
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn unused_bytes(&self, keep: &HashSet<Digest>) -> Result<u64, FetchError> {
        let folder = &self.shared.folder;
        let state = self.state();
        let is_held = |digest: &Digest| {
            keep.contains(digest) || state.leases.get(digest).is_some_and(|lease| lease.strong_count() > 0)
        };
        let is_fetched = |key: &Key| state.gates.get(key).and_then(Weak::upgrade).is_some();
        let blobs = folder.all_blobs()?.into_iter().filter(|(digest, _)| !is_held(digest));
        let partials = folder.all_partials()?.into_iter().filter(|(key, _)| !is_fetched(key));
        Ok(blobs.map(|(_, file)| file.bytes).chain(partials.map(|(_, file)| file.bytes)).sum())
    }

    /// Bytes that a fetch of `key` may still add: less than is free by what the
    /// other fetches under way have yet to write.
    pub(super) fn room(&self, key: &Key) -> Result<u64, FetchError> {
        self.room_beside(&self.state(), key)
    }

    /// Takes the room for the rest of a file.
    ///
    /// # Errors
    /// There is too little, or the folder cannot be read.
    pub(super) fn promise<'a>(
        &'a self,
        key: &'a Key,
        total_bytes: u64,
        missing_bytes: u64,
    ) -> Result<Promise<'a>, FetchError> {
        // Under one lock, so that of two that begin at once one sees the other.
        let mut state = self.state();
        let free = self.room_beside(&state, key)?;
        if free < missing_bytes {
            let path = self.shared.folder.root().to_owned();
            return Err(FetchError::DiskFull { path, needed: missing_bytes, free });
        }
        state.promised.insert(key.clone(), total_bytes);
        Ok(Promise { store: self, key })
    }

    fn room_beside(&self, state: &State, key: &Key) -> Result<u64, FetchError> {
        let folder = &self.shared.folder;
        let others: u64 = state
            .promised
            .iter()
            .filter(|(other, _)| *other != key)
            .map(|(other, total)| {
                let there = fs::metadata(folder.partial(other)).map_or(0, |about| about.len());
                total.saturating_sub(there)
            })
            .sum();
        let disk = folder.free_bytes()?.saturating_sub(MARGIN_BYTES);
        let free = match self.quota {
            Some(quota) => disk.min(quota.saturating_sub(folder.used_bytes()?)),
            None => disk,
        };
        Ok(free.saturating_sub(others))
    }
}
