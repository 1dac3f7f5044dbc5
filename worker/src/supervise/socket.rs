//! Where the sockets of engine processes lie.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// A directory that only we can enter, removed when the last clone goes.
#[derive(Clone, Debug)]
pub struct SocketDir {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    next: AtomicU64,
}

impl SocketDir {
    /// Makes one in `parent`, or in the system's temporary directory if that
    /// cannot be written to.
    ///
    /// # Errors
    /// When neither can be written to.
    pub fn create(parent: &Path) -> io::Result<Self> {
        Self::create_in(parent).or_else(|_| Self::create_in(&std::env::temp_dir()))
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        // Short, because a socket's path has at most 104 bytes on some systems.
        let path =
            parent.join(format!("h{:x}-{:08x}", std::process::id(), uuid::Uuid::new_v4().as_fields().0));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        // The umask may have taken something away, but never added.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(Self { inner: Arc::new(Inner { path, next: AtomicU64::new(0) }) })
    }

    /// A path that was never used, removed when the answer is dropped.
    pub(super) fn next(&self) -> Socket {
        let n = self.inner.next.fetch_add(1, Ordering::Relaxed);
        Socket { path: self.inner.path.join(format!("{n}.sock")), _dir: self.clone() }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// One engine process's socket.
pub(super) struct Socket {
    path: PathBuf,
    _dir: SocketDir,
}

impl Socket {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A channel to whoever listens there, connected at the first call.
    pub(super) fn channel(&self) -> Channel {
        let path: Arc<Path> = self.path.clone().into();
        Endpoint::from_static("http://engine").connect_with_connector_lazy(service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        }))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_we_can_enter_and_nothing_is_left() {
        let parent = tempfile::tempdir().unwrap();
        let dir = SocketDir::create(parent.path()).unwrap();
        let mode = fs::metadata(&dir.inner.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let (a, b) = (dir.next(), dir.next());
        assert_ne!(a.path(), b.path());
        drop((a, b, dir));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
