//! The folders on disk, and what is done with their files.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use crate::{Digest, FetchError, Resolved};

/// What identifies a file that is being fetched: its digest, where that is known,
/// and where it comes from. One source's slowness or silence holds up nobody who
/// knows another. Safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(String);

impl Key {
    pub(super) fn of(resolved: &Resolved) -> Self {
        match resolved.sha256 {
            Some(digest) => {
                let source = Digest::of(resolved.location.to_string().as_bytes());
                Self(format!("sha256-{digest}-{source}"))
            }
            None => Self::of_source(resolved),
        }
    }

    pub(super) fn of_source(resolved: &Resolved) -> Self {
        let source = format!("{}\n{}\n{}", resolved.location, resolved.revision, resolved.size_bytes);
        Self(format!("source-{}", Digest::of(source.as_bytes())))
    }

    /// The key in whose name a file lies in `partial`.
    pub(super) fn of_partial(name: &OsStr) -> Option<Self> {
        let name = name.to_str()?;
        Some(Self(name.strip_suffix(".json").unwrap_or(name).to_owned()))
    }
}

/// A file with its size and last use.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) used_at: SystemTime,
}

#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
}

/// Wraps an I/O error with what was being done.
pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> FetchError + 'a {
    move |source| FetchError::Io { doing, path: path.to_owned(), source }
}

impl Folder {
    pub(super) fn open(root: &Path) -> Result<Self, FetchError> {
        let folder = Self { root: root.to_owned() };
        for path in [folder.blobs(), folder.partials(), folder.sources()] {
            fs::create_dir_all(&path).map_err(io("making", &path))?;
        }
        Ok(folder)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn partials(&self) -> PathBuf {
        self.root.join("partial")
    }

    fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    pub(super) fn blob(&self, digest: Digest) -> PathBuf {
        self.blobs().join(digest.to_string())
    }

    pub(super) fn partial(&self, key: &Key) -> PathBuf {
        self.partials().join(&key.0)
    }

    pub(super) fn journal(&self, key: &Key) -> PathBuf {
        self.partials().join(format!("{}.json", key.0))
    }

    /// Makes a synced partial file the blob of its digest.
    pub(super) fn finish(&self, key: &Key, digest: Digest) -> Result<(), FetchError> {
        let (from, to) = (self.partial(key), self.blob(digest));
        fs::rename(&from, &to).map_err(io("renaming", &from))?;
        sync_folder(&self.blobs())?;
        self.discard_journal(key);
        touch(&to);
        Ok(())
    }

    /// Drops a partial file and its journal.
    pub(super) fn discard(&self, key: &Key) {
        // What is gone needs no dropping, and what cannot be dropped will fail
        // louder when it is written.
        let _ = fs::remove_file(self.partial(key));
        self.discard_journal(key);
    }

    fn discard_journal(&self, key: &Key) {
        let _ = fs::remove_file(self.journal(key));
    }

    pub(super) fn recorded(&self, key: &Key) -> Option<Digest> {
        fs::read_to_string(self.sources().join(&key.0)).ok()?.trim().parse().ok()
    }

    pub(super) fn record(&self, key: &Key, digest: Digest) -> Result<(), FetchError> {
        write_whole(&self.sources().join(&key.0), digest.to_string().as_bytes())
    }

    /// Forgets which sources gave a digest.
    pub(super) fn forget(&self, digests: &[Digest]) -> Result<(), FetchError> {
        for file in list(&self.sources())? {
            let named = fs::read_to_string(&file.path).ok().and_then(|s| s.trim().parse().ok());
            if named.is_some_and(|d: Digest| digests.contains(&d)) {
                fs::remove_file(&file.path).map_err(io("removing", &file.path))?;
            }
        }
        Ok(())
    }

    /// Every blob.
    pub(super) fn all_blobs(&self) -> Result<Vec<(Digest, Found)>, FetchError> {
        let named = |f: Found| Some((f.path.file_name()?.to_str()?.parse().ok()?, f));
        Ok(list(&self.blobs())?.into_iter().filter_map(named).collect())
    }

    /// Every partial file and journal.
    pub(super) fn all_partials(&self) -> Result<Vec<(Key, Found)>, FetchError> {
        let keyed = |f: Found| Some((Key::of_partial(f.path.file_name()?)?, f));
        Ok(list(&self.partials())?.into_iter().filter_map(keyed).collect())
    }

    pub(super) fn used_bytes(&self) -> Result<u64, FetchError> {
        let blobs = list(&self.blobs())?;
        let partials = list(&self.partials())?;
        Ok(blobs.iter().chain(&partials).map(|f| f.bytes).sum())
    }

    /// Bytes that an unprivileged process may still write.
    pub(super) fn free_bytes(&self) -> Result<u64, FetchError> {
        let about = rustix::fs::statvfs(&self.root)
            .map_err(|e| io("looking at", &self.root)(std::io::Error::from(e)))?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }
}

fn list(folder: &Path) -> Result<Vec<Found>, FetchError> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("listing", folder))? {
        let path = entry.map_err(io("listing", folder))?.path();
        match fs::metadata(&path) {
            Ok(about) if about.is_file() => {
                let used_at = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                out.push(Found { path, bytes: about.len(), used_at });
            }
            Ok(_) => {}
            // Renamed or removed since it was listed.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io("looking at", &path)(e)),
        }
    }
    Ok(out)
}

/// Marks a file as just used.
pub(super) fn touch(path: &Path) {
    // Only the order of removal hangs on it.
    let _ = File::open(path).and_then(|f| f.set_times(FileTimes::new().set_modified(SystemTime::now())));
}

/// Writes a small file so that it is whole or not there.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), FetchError> {
    // Two threads may write the same file: what they write is the same, but each
    // needs a name of its own before.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let temporary = path.with_extension(format!("tmp{}", COUNT.fetch_add(1, Ordering::Relaxed)));
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(io("writing", path))
}

fn sync_folder(path: &Path) -> Result<(), FetchError> {
    File::open(path).and_then(|f| f.sync_all()).map_err(io("syncing", path))
}
