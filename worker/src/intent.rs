//! The set that was last applied, and the file that it survives a restart in.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::spec::{Fence, ReplicaSpec};

/// Version of the file's layout. A newer one than we know is refused, so that a
/// downgrade does not silently forget what it cannot read.
const LAYOUT: u32 = 1;

/// A whole set, with its fence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Which plan this is.
    pub fence: Fence,
    /// Everything that must be held, and nothing else.
    pub replicas: Vec<ReplicaSpec>,
}

/// How a new intent stands to the one in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Newer,
    /// It is the one in force, said again; bearer tokens may be fresh.
    Same,
    /// A plan that has been overtaken.
    Older,
    /// The fence of the one in force, with another set: two leaders, or a bug.
    Conflict,
}

impl Intent {
    /// Judges `new` against `self`.
    pub fn judge(&self, new: &Self) -> Verdict {
        use std::cmp::Ordering;
        match new.fence.cmp(&self.fence) {
            Ordering::Greater => Verdict::Newer,
            Ordering::Less => Verdict::Older,
            Ordering::Equal if self.same_set(new) => Verdict::Same,
            Ordering::Equal => Verdict::Conflict,
        }
    }

    fn same_set(&self, other: &Self) -> bool {
        self.replicas.len() == other.replicas.len()
            && self.replicas.iter().all(|a| other.replicas.iter().any(|b| a.same_intent(b)))
    }
}

/// Why the set could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IntentError {
    /// Reading, writing, syncing or renaming failed.
    #[error("cannot {what} {path}", path = path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} is not a set of replicas; delete it to start with none", path = path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A later version wrote the file.
    #[error("{path} has layout {found}, written by a later version; this one knows {LAYOUT}", path = path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Its layout.
        found: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct OnDisk<T> {
    layout: u32,
    #[serde(flatten)]
    intent: T,
}

#[derive(Deserialize)]
struct LayoutOnly {
    layout: u32,
}

/// The file. Bearer tokens are never in it.
#[derive(Clone, Debug)]
pub struct IntentFile {
    path: PathBuf,
}

impl IntentFile {
    /// `intent.json` in this directory, which must exist.
    pub fn in_dir(dir: &Path) -> Self {
        Self { path: dir.join("intent.json") }
    }

    /// What was last saved; `None` if nothing ever was.
    ///
    /// # Errors
    /// When the file exists but cannot be read or understood.
    pub fn load(&self) -> Result<Option<Intent>, IntentError> {
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(self.io("read", source)),
        };
        let parse = |source| IntentError::Parse { path: self.path.clone(), source };
        let LayoutOnly { layout } = serde_json::from_slice(&text).map_err(parse)?;
        if layout != LAYOUT {
            return Err(IntentError::Layout { path: self.path.clone(), found: layout });
        }
        serde_json::from_slice::<OnDisk<Intent>>(&text).map(|d| Some(d.intent)).map_err(parse)
    }

    /// Replaces the file, whole, and returns when it would survive a power cut.
    ///
    /// # Errors
    /// Then the old file still stands; or, if only the directory could not be synced,
    /// the new one does, and a power cut may bring the old one back.
    pub fn save(&self, intent: &Intent) -> Result<(), IntentError> {
        let text = serde_json::to_vec_pretty(&OnDisk { layout: LAYOUT, intent })
            .map_err(|source| IntentError::Parse { path: self.path.clone(), source })?;
        let temporary = self.path.with_extension("json.partial");
        let mut file = File::create(&temporary).map_err(|e| self.io("create", e))?;
        file.write_all(&text).map_err(|e| self.io("write", e))?;
        file.sync_all().map_err(|e| self.io("sync", e))?;
        fs::rename(&temporary, &self.path).map_err(|e| self.io("replace", e))?;
        // The rename itself lives in the directory.
        if let Some(dir) = self.path.parent() {
            File::open(dir).and_then(|d| d.sync_all()).map_err(|e| self.io("sync the directory of", e))?;
        }
        Ok(())
    }

    fn io(&self, what: &'static str, source: io::Error) -> IntentError {
        IntentError::Io { what, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;
    use hearth_source::Token;

    fn intent(epoch: u64, generation: u64, ids: &[&str]) -> Intent {
        Intent { fence: Fence { epoch, generation }, replicas: ids.iter().map(|id| spec(id)).collect() }
    }

    #[test]
    fn verdicts() {
        let current = intent(2, 5, &["a", "b"]);
        assert_eq!(current.judge(&intent(2, 6, &[])), Verdict::Newer);
        assert_eq!(current.judge(&intent(3, 0, &["a"])), Verdict::Newer);
        assert_eq!(current.judge(&intent(2, 4, &["a", "b"])), Verdict::Older);
        assert_eq!(current.judge(&intent(1, 9, &[])), Verdict::Older);
        assert_eq!(current.judge(&intent(2, 5, &["b", "a"])), Verdict::Same);
        assert_eq!(current.judge(&intent(2, 5, &["a"])), Verdict::Conflict);
        assert_eq!(current.judge(&intent(2, 5, &["a", "c"])), Verdict::Conflict);
    }

    #[test]
    fn survives_but_for_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let file = IntentFile::in_dir(dir.path());
        assert_eq!(file.load().unwrap(), None);
        let mut saved = intent(1, 2, &["a"]);
        saved.replicas[0].file.bearer_token = Token::new("hunter2");
        file.save(&saved).unwrap();
        let text = fs::read_to_string(&file.path).unwrap();
        assert!(!text.contains("hunter2"));
        let loaded = file.load().unwrap().unwrap();
        assert_eq!(saved.judge(&loaded), Verdict::Same);
        file.save(&intent(1, 3, &[])).unwrap();
        assert_eq!(file.load().unwrap().unwrap(), intent(1, 3, &[]));
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = IntentFile::in_dir(dir.path());
        fs::write(&file.path, "{").unwrap();
        assert!(matches!(file.load(), Err(IntentError::Parse { .. })));
        fs::write(&file.path, r#"{"layout": 7, "who": "knows"}"#).unwrap();
        assert!(matches!(file.load(), Err(IntentError::Layout { found: 7, .. })));
    }
}
