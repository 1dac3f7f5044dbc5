//! [`ServedModel`]: what to serve, and how.

mod spec;
mod status;

pub use spec::{
    Context, ContextError, JoinedPolicy, KvType, Placement, Preference, Scheme, SecretReference, ServedModel,
    ServedModelSpec, Source,
};
pub use status::{
    Footprint, ModelState, Progress, RejectedGroup, ReplicaState, ReplicaStatus, Resolved, ServedModelStatus,
    Summary,
};
