//! [`ServedModel`]: what to serve, and how.

mod context;
mod placement;
mod source;
mod spec;
mod status;

pub use context::{Context, ContextError};
pub use placement::{JoinedPolicy, Placement};
pub use source::{Scheme, SecretReference, Source};
pub use spec::{KvType, Preference, ServedModel, ServedModelSpec};
pub use status::{
    Footprint, ModelState, Progress, RejectedGroup, ReplicaState, ReplicaStatus, Resolved, ServedModelStatus,
    Summary, count, replica_id,
};
