//! A file that is being fetched: what is there, and what is added to it.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Gate;
use super::folder::{Folder, Key, io, write_whole};
use crate::{Digest, FetchError};

/// What a resumed fetch must agree with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Journal {
    pub(super) url: String,
    pub(super) size_bytes: u64,
    /// The strong ETag of the response that the bytes are from.
    pub(super) etag: Option<String>,
}

/// A partial file, open at its end, with the state of its digest.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    hasher: Sha256,
    pub(super) len: u64,
    /// `None` if nothing is there to be continued.
    pub(super) journal: Option<Journal>,
}

impl Partial {
    /// Opens what an earlier fetch left, or begins. What is there is hashed again:
    /// the disk is not trusted to be what was written before a crash. Blocks.
    pub(super) fn open(folder: &Folder, key: &Key, url: &str, size_bytes: u64) -> Result<Self, FetchError> {
        let path = folder.partial(key);
        let journal: Option<Journal> =
            fs::read(folder.journal(key)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let journal = journal.filter(|j| j.url == url && j.size_bytes == size_bytes);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("opening", &path))?;
        let there = file.metadata().map_err(io("looking at", &path))?.len();
        let keep = journal.is_some() && there <= size_bytes;
        let mut partial = Self { file, hasher: Sha256::new(), len: 0, journal: journal.filter(|_| keep) };
        if !keep {
            partial.restart().map_err(io("clearing", &path))?;
            return Ok(partial);
        }
        let mut buffer = vec![0; 1 << 20];
        file = partial.file;
        loop {
            let n = file.read(&mut buffer).map_err(io("reading", &path))?;
            if n == 0 {
                break;
            }
            partial.hasher.update(&buffer[..n]);
            partial.len += n as u64;
        }
        Ok(Self { file, ..partial })
    }

    /// Drops what is there. Blocks, briefly.
    pub(super) fn restart(&mut self) -> std::io::Result<()> {
        if self.file.metadata()?.len() > 0 {
            self.file.set_len(0)?;
        }
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Sha256::new();
        self.len = 0;
        self.journal = None;
        Ok(())
    }

    /// Writes down what the bytes that follow are from.
    pub(super) fn begin(&mut self, folder: &Folder, key: &Key, journal: Journal) -> Result<(), FetchError> {
        if self.journal.as_ref() == Some(&journal) {
            return Ok(());
        }
        let path = folder.journal(key);
        let bytes = serde_json::to_vec(&journal).map_err(|e| io("writing", &path)(e.into()))?;
        write_whole(&path, &bytes)?;
        self.journal = Some(journal);
        Ok(())
    }

    /// Syncs the bytes and gives their digest. Blocks.
    pub(super) fn seal(self) -> std::io::Result<Digest> {
        self.file.sync_all()?;
        Ok(Digest::from_hasher(self.hasher))
    }
}

/// Pieces on the way to the disk: a few, so that a slow disk slows the network.
const PIECES: usize = 64;

/// A thread that writes and hashes.
pub(super) struct Writer {
    pieces: mpsc::Sender<Bytes>,
    thread: JoinHandle<(Partial, std::io::Result<()>)>,
}

impl Writer {
    /// Takes the partial file until [`Writer::finish`]. If the writer is dropped,
    /// what is on the way is still written, and the gate held until it is.
    pub(super) fn start(mut partial: Partial, gate: Gate) -> Self {
        let (pieces, mut incoming) = mpsc::channel::<Bytes>(PIECES);
        let thread = tokio::task::spawn_blocking(move || {
            let _gate = gate;
            let mut write = || {
                while let Some(piece) = incoming.blocking_recv() {
                    partial.file.write_all(&piece)?;
                    partial.hasher.update(&piece);
                    partial.len += piece.len() as u64;
                }
                Ok(())
            };
            let result = write();
            (partial, result)
        });
        Self { pieces, thread }
    }

    /// Hands a piece over; false if the writer has failed and will say why.
    pub(super) async fn write(&self, piece: Bytes) -> bool {
        self.pieces.send(piece).await.is_ok()
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> std::io::Result<(Partial, std::io::Result<()>)> {
        drop(self.pieces);
        self.thread.await.map_err(std::io::Error::other)
    }
}
