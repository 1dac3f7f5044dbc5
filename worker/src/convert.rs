//! Between the wire's types of hearth.worker.v1 and our own.

mod apply;
mod snapshot;

use hearth_model::{Footprint, KvType};
use hearth_proto::worker::v1 as proto;

use crate::spec::{Failure, Fence};

pub use apply::parse_apply;
pub use snapshot::{StoreUse, snapshot};

/// Bytes, part by part.
pub fn footprint_to_proto(footprint: Footprint) -> proto::Footprint {
    let Footprint { weights, kv, activations, overhead } = footprint;
    proto::Footprint { weights, kv, activations, overhead }
}

/// Bytes, part by part.
pub fn footprint_from_proto(footprint: proto::Footprint) -> Footprint {
    let proto::Footprint { weights, kv, activations, overhead } = footprint;
    Footprint { weights, kv, activations, overhead }
}

/// A fence.
pub fn fence_to_proto(fence: Fence) -> proto::Fence {
    let Fence { epoch, generation } = fence;
    proto::Fence { epoch, generation }
}

/// How keys and values are stored.
pub fn kv_type_to_proto(kv_type: KvType) -> proto::KvType {
    match kv_type {
        KvType::F16 => proto::KvType::F16,
        KvType::Q8_0 => proto::KvType::Q80,
    }
}

/// A failure.
pub fn failure_to_proto(failure: &Failure) -> proto::Failure {
    let Failure { reason, message, permanent } = failure.clone();
    proto::Failure { reason, message, permanent }
}
