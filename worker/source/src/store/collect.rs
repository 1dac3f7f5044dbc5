//! Making room.

use std::collections::HashSet;
use std::fs;
use std::sync::Weak;

use super::Store;
use super::folder::io;
use crate::{Digest, FetchError};

/// What was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// The files, longest unused first.
    pub removed: Vec<Digest>,
    /// Bytes given back, those of abandoned fetches too.
    pub freed_bytes: u64,
    /// Bytes that are left in the store.
    pub used_bytes: u64,
}

impl Store {
    /// Removes until at most `quota_bytes` are in use: first fetches that nobody
    /// is at, then files that are neither in `keep` nor held as a
    /// [`super::Blob`], longest unused first. What may not go, stays, even over
    /// the quota.
    ///
    /// # Errors
    /// The folder cannot be read, or a file not removed.
    pub fn collect(&self, keep: &HashSet<Digest>, quota_bytes: u64) -> Result<Collected, FetchError> {
        let folder = &self.shared.folder;
        // Held throughout, so that nothing is leased or begun while it is removed.
        let mut state = self.state();
        state.leases.retain(|_, lease| lease.strong_count() > 0);
        let mut out = Collected { used_bytes: folder.used_bytes()?, ..Collected::default() };

        let mut partials = folder.all_partials()?;
        partials.retain(|(key, _)| state.gates.get(key).and_then(Weak::upgrade).is_none());
        partials.sort_by_key(|(_, file)| file.used_at);
        let mut blobs = folder.all_blobs()?;
        blobs.retain(|(digest, _)| !keep.contains(digest) && !state.leases.contains_key(digest));
        blobs.sort_by_key(|(_, file)| file.used_at);

        let partials = partials.into_iter().map(|(_, file)| (None, file));
        for (digest, file) in partials.chain(blobs.into_iter().map(|(digest, file)| (Some(digest), file))) {
            if out.used_bytes <= quota_bytes {
                break;
            }
            fs::remove_file(&file.path).map_err(io("removing", &file.path))?;
            out.used_bytes = out.used_bytes.saturating_sub(file.bytes);
            out.freed_bytes += file.bytes;
            out.removed.extend(digest);
        }
        folder.forget(&out.removed)?;
        Ok(out)
    }
}
