//! `hearth-operator gateway`: takes requests and brings them to the Workers.
//!
//! From the outside in:
//! * [`grpc`] and [`http`] speak to clients,
//! * [`intake`] reads what they send, as far as there is [`memory`] for it,
//! * [`forward`] carries one request from the queue to its terminal item,
//! * [`dispatch`] hands out replicas ([`queue`]: who is next; [`balance`]: which one),
//! * [`pool`] holds the channels to the Workers,
//! * [`routes`] says which replicas there are, [`watch`] reads that from Kubernetes,
//! * [`report`] tells the controller what is asked for.
//!
//! The gateway never writes to the cluster. Everything but [`watch`] runs without one.

pub mod args;
pub mod balance;
pub mod deadline;
pub mod dispatch;
pub mod forward;
pub mod grpc;
pub mod http;
pub mod intake;
pub mod leader;
pub mod ledger;
pub mod lifecycle;
pub mod memory;
pub mod metrics;
pub mod pool;
pub mod queue;
pub mod refusal;
pub mod report;
pub mod routes;
pub mod run;
pub mod validate;
pub mod verdict;
pub mod watch;

pub use self::{args::Args, run::run};
