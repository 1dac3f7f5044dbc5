//! Names that more than one process must agree on.

/// The API group.
pub const GROUP: &str = "hearth.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";
/// `group/version`, as in `apiVersion`.
pub const API_VERSION: &str = "hearth.dev/v1alpha1";

/// Field manager of everything that the controller applies.
pub const FIELD_MANAGER: &str = "hearth";

/// The Lease by which controllers are elected, in the namespace of the release.
pub const CONTROLLER_LEASE: &str = "hearth-controller";
/// The Secret with the gateway's certificate, in the namespace of the release.
pub const GATEWAY_SECRET: &str = "hearth-gateway-tls";

/// Label on what belongs to a Worker (Pod, volume claim, Secret): its name.
pub const LABEL_WORKER: &str = "hearth.dev/worker";
/// Label that a Secret must carry, with the value `true`, before
/// `spec.source.secretRef` may name it: a namespace's other Secrets stay out of reach.
pub const LABEL_CREDENTIALS: &str = "hearth.dev/credentials";

/// Annotation on the controller's Lease: where its leader serves `hearth.control.v1`.
pub const ANNOTATION_ADDRESS: &str = "hearth.dev/address";
/// Annotation on the controller's Lease: the leader's epoch, decimal.
pub const ANNOTATION_EPOCH: &str = "hearth.dev/epoch";
/// Annotation on a worker Pod: the hash of the template it was made from.
pub const ANNOTATION_TEMPLATE: &str = "hearth.dev/template-hash";
