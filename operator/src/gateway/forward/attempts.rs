//! Whether a request that a replica did not answer goes to another one.

use tokio::time::Instant;
use tonic::Status;

use super::Forwarder;
use crate::gateway::{
    balance::Scope,
    deadline::Deadline,
    dispatch::{Permit, Ticket},
    refusal::Refusal,
    verdict::{Verdict, before_output},
};

/// Replicas that may die under one request. A request that kills engines must not go through
/// all of them.
const MAX_SUSPICIOUS: u32 = 3;

/// How a try ended.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the worker, or the connection to it, said.
    pub(super) status: Status,
    /// The worker had begun to respond.
    pub(super) taken: bool,
}

/// The tries of one request so far.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    suspicious: u32,
}

impl Attempts {
    /// Lines the request up again after an error that came before any output.
    ///
    /// # Errors
    /// The status to end with, where trying again makes no sense.
    pub(super) fn again(
        &mut self,
        forwarder: &Forwarder,
        model: &str,
        permit: Permit,
        failure: Failure,
        deadline: &Deadline,
    ) -> Result<Ticket, Status> {
        let Failure { status, taken } = failure;
        if deadline.is_over(Instant::now()) {
            return Err(deadline.passed("the worker had not begun to answer").into());
        }
        let replica = permit.replica();
        tracing::info!(
            model,
            worker = replica.worker,
            address = replica.address,
            code = ?status.code(),
            message = status.message(),
            "a replica did not begin to answer"
        );
        let scope = match before_output(&status, taken) {
            Verdict::Tell(status) => return Err(status),
            Verdict::Elsewhere(scope) => scope,
            Verdict::Suspicious(scope) => {
                self.suspicious += 1;
                if self.suspicious >= MAX_SUSPICIOUS {
                    let last = status.message().to_owned();
                    return Err(Refusal::Unlucky { tries: self.suspicious, last }.into());
                }
                scope
            }
        };
        if scope == Scope::Worker {
            forwarder.pool.evict(permit.replica());
        }
        forwarder.metrics.retried(model);
        Ok(permit.failed(scope))
    }
}
