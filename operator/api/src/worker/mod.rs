//! [`Worker`]: one machine that serves.

mod spec;
mod status;

pub use spec::{Gpus, Hours, Release, ReleasePolicy, Store, Worker, WorkerKind, WorkerSpec};
pub use status::{
    Applied, DeviceKind, DeviceStatus, StoreStatus, WeightStorage, WorkerState, WorkerStatus, WorkerSummary,
};
