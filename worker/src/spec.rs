//! What the worker is asked to hold, parsed once.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use hearth_model::{Footprint, KvType};
use hearth_source::{Digest, Token};
use serde::{Deserialize, Serialize};

/// Orders intents: the epoch first, then the generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// Grows with each change of leader.
    pub epoch: u64,
    /// Grows with each change of the set that this leader wants of this worker.
    pub generation: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(epoch {}, generation {})", self.epoch, self.generation)
    }
}

/// One model on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaSpec {
    /// Unique in the cluster and stable.
    pub id: String,
    /// Of the ServedModel.
    pub namespace: String,
    /// Of the ServedModel.
    pub name: String,
    /// The name that requests carry.
    pub served_name: String,
    /// What to load.
    pub file: FileSpec,
    /// The device's uuid, as this worker tells it.
    pub device: String,
    /// Tokens a sequence may hold.
    pub context_tokens: NonZeroU32,
    /// Sequences whose KV cache is reserved.
    pub sequences: NonZeroU32,
    /// How keys and values are stored.
    pub kv_type: KvType,
    /// Bytes that the planner reserved.
    pub footprint: Footprint,
    /// How long one step of a load, the fetch or the load itself, may take.
    pub load_timeout: Duration,
}

/// A model's file and where its bytes come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// `https://…`, or `pvc://claim/path` for a mounted claim.
    pub url: String,
    /// Of the whole file, if the source names it.
    #[serde(with = "digest")]
    pub sha256: Option<Digest>,
    /// 0 if not known.
    pub size_bytes: u64,
    /// What the source calls this version of the file; may be empty.
    pub revision: String,
    /// Sent to the source; never written to disk.
    #[serde(skip)]
    pub bearer_token: Option<Token>,
}

impl FileSpec {
    /// Whether it lies on a mounted claim, where others may change it at any time.
    pub fn is_mounted(&self) -> bool {
        self.url.starts_with("pvc://")
    }
}

impl ReplicaSpec {
    /// Whether what is loaded for `self` also serves `other`: everything that
    /// the engine or the file on disk depends on is equal.
    pub fn same_load(&self, other: &Self) -> bool {
        // Destructured, so that a new field must be judged.
        let Self {
            id,
            namespace: _,
            name: _,
            served_name: _,
            file: FileSpec { url, sha256, size_bytes: _, revision: _, bearer_token: _ },
            device,
            context_tokens,
            sequences,
            kv_type,
            footprint: _,
            load_timeout: _,
        } = self;
        let same_bytes = match (sha256, &other.file.sha256) {
            // The same bytes from elsewhere are still the same bytes.
            (Some(a), Some(b)) => a == b,
            // What a source without digests calls its version changes on its own, as
            // ETags do from one replica of a server to the next. Nothing that serves
            // ends for that.
            _ => (url, sha256) == (&other.file.url, &other.file.sha256),
        };
        same_bytes
            && (id, device, context_tokens, sequences, kv_type)
                == (&other.id, &other.device, &other.context_tokens, &other.sequences, &other.kv_type)
    }

    /// Equal but for the bearer token, which is not kept across a restart.
    pub fn same_intent(&self, other: &Self) -> bool {
        let blank = |spec: &Self| {
            let mut spec = spec.clone();
            spec.file.bearer_token = None;
            spec
        };
        blank(self) == blank(other)
    }
}

/// A digest as JSON: its hexadecimal digits.
mod digest {
    use hearth_source::Digest;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(digest: &Option<Digest>, to: S) -> Result<S::Ok, S::Error> {
        digest.map(|d| d.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Digest>, D::Error> {
        Option::<String>::deserialize(from)?.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

/// Why something did not work, as the controller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One CamelCase word: a condition's reason.
    pub reason: String,
    /// A sentence: what failed, with the value, and what to do.
    pub message: String,
    /// Trying again with the same input cannot help.
    pub permanent: bool,
}

impl Failure {
    /// One that may pass.
    pub fn transient(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into(), permanent: false }
    }

    /// The same, with more to say.
    #[must_use]
    pub fn with(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// One that stays until the input changes.
    pub fn permanent(reason: &str, message: impl Into<String>) -> Self {
        Self { reason: reason.to_owned(), message: message.into(), permanent: true }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A replica of 1 GiB on device `d0`.
    pub(crate) fn spec(id: &str) -> ReplicaSpec {
        ReplicaSpec {
            id: id.into(),
            namespace: "default".into(),
            name: id.into(),
            served_name: id.into(),
            file: FileSpec {
                url: format!("https://models.test/{id}.gguf"),
                sha256: None,
                size_bytes: 1000,
                revision: "1".into(),
                bearer_token: None,
            },
            device: "d0".into(),
            context_tokens: NonZeroU32::new(4096).unwrap(),
            sequences: NonZeroU32::new(2).unwrap(),
            kv_type: KvType::F16,
            footprint: Footprint { weights: 1 << 30, ..Footprint::default() },
            load_timeout: Duration::from_secs(600),
        }
    }

    #[test]
    fn fences_compare_the_epoch_first() {
        let fence = |epoch, generation| Fence { epoch, generation };
        assert!(fence(2, 0) > fence(1, 9));
        assert!(fence(2, 1) > fence(2, 0));
    }

    #[test]
    fn a_rename_is_the_same_load() {
        let a = spec("a");
        let mut b = a.clone();
        b.served_name = "other".into();
        b.file.bearer_token = Token::new("t");
        assert!(a.same_load(&b));
        assert!(!a.same_intent(&b));
        b.context_tokens = NonZeroU32::new(1).unwrap();
        assert!(!a.same_load(&b));
    }

    #[test]
    fn equal_digests_are_equal_bytes() {
        let mut a = spec("a");
        let mut b = spec("a");
        b.file.url = "https://mirror.test/a".into();
        assert!(!a.same_load(&b));
        b.file.url = a.file.url.clone();
        b.file.revision = "another ETag".into();
        assert!(a.same_load(&b));
        b.file.url = "https://mirror.test/a".into();
        a.file.sha256 = Some(Digest::of(b"x"));
        b.file.sha256 = a.file.sha256;
        let json = serde_json::to_string(&a).unwrap();
        assert_eq!(serde_json::from_str::<ReplicaSpec>(&json).unwrap(), a);
        assert!(a.same_load(&b));
    }

    #[test]
    fn a_secret_is_shown_to_nobody() {
        let mut a = spec("a");
        a.file.bearer_token = Token::new("hunter2");
        assert!(!format!("{a:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&a).unwrap().contains("hunter2"));
    }
}
