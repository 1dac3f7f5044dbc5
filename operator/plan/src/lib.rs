//! Where each model goes: a pure function from what was observed to a plan.
//!
//! [`plan`] has no clock, no client and no randomness: equal observations, in
//! whatever order their lists are, give equal plans.
//!
//! # The rule
//! Wanted replicas have their turn one after the other: by priority; then those
//! that run before those that do not, the faster placed first; then every model's
//! first before any model's second; then by age. Each gets the best level it can
//! have without taking a level from those before it:
//! 1. a device of a faster class before one of a slower. A class is a power of
//!    two of memory bandwidth: what is nearly as fast counts as equally fast, and
//!    nobody is moved or thrown out for a few percent;
//! 2. within a class, to stay where it is, with the context it has;
//! 3. no device at all.
//!
//! Within a class a new replica goes where nothing that runs must give way, then
//! to the fastest device, then to the emptiest. It is placed with its smallest
//! context; what room is left when all are placed goes to the new replicas, in
//! the same order, as longer contexts.
//!
//! So a replica moves for these reasons only: its place is gone or no longer
//! allowed, its spec changed, a higher priority needs the room, others use the
//! memory, or a device of a faster class on a machine that runs has room. A parked
//! machine with such a device is started first. A replica that moves for speed
//! serves on where it was until the new one is ready, if the memory allows for both.
//!
//! What has no place waits while a machine that is presumed faster than all that
//! have room was never measured: that one is started first.
//!
//! # What follows, and is tested
//! - No device is promised more than it has.
//! - [`Plan::turns`] never gets worse when memory or a device is added. (A machine
//!   that was never measured is no memory yet.)
//! - Planning again on what was planned changes nothing, but for moves to faster
//!   machines that were started for it.
//! - A new model of the same or a lower priority moves nobody.
//! - What has no place has a reason for every device and machine.
//!
//! The search for an arrangement that keeps all earlier levels is
//! exact for a homelab's numbers and bounded beyond them.

mod assign;
mod bandwidth;
mod bytes;
mod candidates;
mod decision;
mod explain;
mod grow;
mod observed;
mod planner;
mod rank;
mod rejection;
mod search;
mod selector;
mod slots;
mod succession;
mod workers;

pub use bandwidth::bandwidth;
pub use bytes::{gib, human, human_pair};
pub use decision::{
    Change, DeviceLoad, ModelPlan, MoveReason, Plan, Rank, Removal, RemoveReason, ReplicaPlan, Turn,
    WorkerAction, WorkerPlan,
};
pub use observed::{
    Context, Device, Devices, GpuClaim, Model, ModelFile, ModelKey, Namespaces, Observed, Placement, Release,
    Replica, Resolution, Setback, Trouble, Worker, WorkerKind, WorkerState,
};
pub use planner::plan;
pub use rejection::{Candidate, Group, Held, Reason, Rejection, group};
pub use selector::{Operator, Requirement, Selector};
