//! Look: what there is. Holds the clients that read.

mod activity;
mod caches;
mod headers;
mod kept;
mod link;
mod links;
#[cfg(test)]
mod links_tests;
mod machine;
mod pod;
mod pods;
mod resolver;
mod snapshot;

pub use activity::{Activity, ModelActivity, Session};
pub use caches::{Caches, CachesGone, WATCH_SECONDS};
pub use headers::SourceHeaders;
pub use link::LinkState;
pub use links::Links;
pub use machine::{GpuOffer, Machine, Offer, capacity};
pub use pod::{PodPhase, PodView};
pub use pods::{count, requested};
pub use resolver::{Ask, Doubt, FIRST_WAIT, Found, Headers, Refusal, Resolution, Resolver, Token};
pub use snapshot::Snapshot;
