//! The credentials in force, and their replacement while the process runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::credentials::{Credentials, CredentialsError};

/// The certificate chain's file in a mounted TLS Secret.
pub const CERTIFICATE_FILE: &str = "tls.crt";
/// The private key's file in a mounted TLS Secret.
pub const KEY_FILE: &str = "tls.key";
/// The trusted CA's file in a mounted TLS Secret.
pub const CA_FILE: &str = "ca.crt";

/// The link that the kubelet swaps when a mounted Secret changes: what lies
/// behind one reading of it belongs together.
const SWAPPED: &str = "..data";
/// A change takes the kubelet up to a minute to deliver: a look each second
/// costs three small reads and adds nothing that can be noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A shared handle on the credentials in force. Clones are the same handle.
///
/// Handshakes read it when they begin, in both directions; a connection that
/// stands is not touched by a replacement.
#[derive(Clone, Debug)]
pub struct Live {
    current: Arc<watch::Sender<Arc<Credentials>>>,
}

/// Why a directory holds no credentials.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The files can be read but not used.
    #[error("unusable credentials in {dir}")]
    Credentials {
        /// The directory.
        dir: PathBuf,
        /// What is wrong with them.
        source: CredentialsError,
    },
}

impl Live {
    /// Starts with these credentials; [`Live::replace`] changes them.
    pub fn new(credentials: Credentials) -> Self {
        Self { current: Arc::new(watch::Sender::new(Arc::new(credentials))) }
    }

    /// Reads `tls.crt`, `tls.key` and `ca.crt` of a directory, and reads them
    /// again whenever they change, for as long as a clone of this handle
    /// lives. A change that cannot be used is logged, and what was in force
    /// stays in force. Must be called on a Tokio runtime.
    ///
    /// # Errors
    /// When the files cannot be read or used now.
    pub async fn from_dir(dir: impl Into<PathBuf>) -> Result<Self, LiveError> {
        let dir = dir.into();
        let files = Files::read(&dir).await?;
        let live = Self::new(files.parse(&dir)?);
        tokio::spawn(follow(dir, files, Arc::downgrade(&live.current)));
        Ok(live)
    }

    /// The credentials in force now.
    pub fn current(&self) -> Arc<Credentials> {
        self.current.borrow().clone()
    }

    /// Puts other credentials in force for all handshakes that begin from now.
    pub fn replace(&self, credentials: Credentials) {
        self.current.send_replace(Arc::new(credentials));
    }

    /// Tells each replacement.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Credentials>> {
        self.current.subscribe()
    }
}

#[derive(PartialEq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Files {
    async fn read(dir: &Path) -> Result<Self, LiveError> {
        // All three are read behind one resolution of the kubelet's link, so
        // that a swap between two reads cannot mix an old key with a new
        // certificate.
        let resolved = tokio::fs::canonicalize(dir.join(SWAPPED)).await.unwrap_or_else(|_| dir.to_owned());
        let read = async |file: &str| {
            let path = resolved.join(file);
            tokio::fs::read(&path).await.map_err(|source| LiveError::Read { path: dir.join(file), source })
        };
        Ok(Self {
            certificate: read(CERTIFICATE_FILE).await?,
            key: read(KEY_FILE).await?,
            ca: read(CA_FILE).await?,
        })
    }

    fn parse(&self, dir: &Path) -> Result<Credentials, LiveError> {
        Credentials::from_pem(&self.certificate, &self.key, &self.ca)
            .map_err(|source| LiveError::Credentials { dir: dir.to_owned(), source })
    }
}

/// Ends when the last handle is gone.
async fn follow(dir: PathBuf, mut seen: Files, handle: Weak<watch::Sender<Arc<Credentials>>>) {
    let mut last_error = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(current) = handle.upgrade() else { return };
        let outcome = match Files::read(&dir).await {
            Ok(files) if files == seen => continue,
            Ok(files) => {
                let parsed = files.parse(&dir);
                seen = files;
                parsed
            }
            Err(error) => Err(error),
        };
        match outcome {
            Ok(credentials) => {
                tracing::info!(identity = %credentials.identity(), serial = credentials.serial(), "the TLS credentials were replaced");
                current.send_replace(Arc::new(credentials));
                last_error = None;
            }
            Err(error) => {
                let error = format!("{error}: {}", crate::client::causes(&error));
                if last_error.as_ref() != Some(&error) {
                    tracing::warn!(%error, "the TLS credentials changed but cannot be used; the old ones stay in force");
                    last_error = Some(error);
                }
            }
        }
    }
}
