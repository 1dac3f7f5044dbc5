//! Hearth's wire formats: generated code for every `.proto` file under `hearth/`.
//!
//! The code in `gen/` is committed. `cargo test -p hearth-proto` fails when it is
//! stale; run it with `HEARTH_UPDATE=1` to write it anew.

/// What clients speak.
pub mod inference {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
        include!("gen/hearth.inference.v1.rs");
    }
}
/// Controller to worker.
pub mod worker {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
        include!("gen/hearth.worker.v1.rs");
    }
}
/// Worker to its engine processes.
pub mod engine {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
        include!("gen/hearth.engine.v1.rs");
    }
}
/// Gateway to controller.
pub mod control {
    /// Version 1.
    pub mod v1 {
        #![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]
        include!("gen/hearth.control.v1.rs");
    }
}

pub mod unreadable;

/// Bytes of a request that a client may send to the gateway.
pub const CLIENT_MESSAGE: usize = 4 << 20;
/// Bytes of a request that a worker takes. The gateway makes longer messages than it takes, as it
/// adds the form of a call to the tools that it is made from; what would be longer than this, it
/// refuses itself.
pub const FORWARDED_MESSAGE: usize = 4 * CLIENT_MESSAGE;

/// Metadata of a call to a worker's `hearth.inference.v1`: the id of the replica that is to answer,
/// as `hearth.worker.v1.Replica` has it. Names of models are no keys on a worker, for the name of
/// one may be given to another while the first still runs. A worker that does not hold the replica
/// answers `NOT_FOUND`; without the metadata it looks for the request's model by its served name.
pub const REPLICA_METADATA: &str = "hearth-replica";

/// All packages as a serialized `FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("gen/descriptors.bin");
