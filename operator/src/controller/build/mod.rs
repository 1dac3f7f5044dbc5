//! The objects that a decision comes to. Nothing here holds a client.

mod claim;
mod container;
mod names;
mod pod;
mod secret;
mod volumes;

pub use claim::store_claim;
pub use container::GRPC_PORT;
pub use names::{Owners, child_name, is_leftover, labels, may_be_child, owner_of_children, tls_secret_name};
pub use pod::{Holds, PodPlan, template_hash, worker_pod};
pub use secret::{AUTHORITY_SECRET, authority_secret, leaf_secret};
