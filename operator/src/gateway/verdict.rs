//! What a worker's error means for the request: give up, or try elsewhere.

use std::error::Error as _;

use tonic::{Code, Status};

use super::balance::Scope;

/// What to do about a worker's error before anything of its answer was passed on.
#[derive(Debug)]
pub enum Verdict {
    /// The request is at fault, or every replica would say the same: tell the client.
    Tell(Status),
    /// The replica did not begin: any may be tried, as often as the deadline allows.
    Elsewhere(Scope),
    /// The replica had the request and died or gave up. The request may be the reason, so this
    /// is not repeated for ever.
    Suspicious(Scope),
}

/// Judges an error that came before the first piece of output. `taken`: the worker had begun to
/// respond, so that an engine may have met the request.
pub fn before_output(status: &Status, taken: bool) -> Verdict {
    let broken = status.source().is_some();
    match status.code() {
        Code::Unavailable if broken && !connected(status) => Verdict::Elsewhere(Scope::Worker),
        Code::Unavailable if broken => Verdict::Suspicious(Scope::Worker),
        // The worker is full.
        Code::ResourceExhausted => Verdict::Elsewhere(Scope::Replica),
        // The engine process ended under the request.
        Code::Unavailable | Code::NotFound if taken => Verdict::Suspicious(Scope::Replica),
        // The worker is draining, loading, or no longer holds the model.
        Code::Unavailable | Code::NotFound => Verdict::Elsewhere(Scope::Replica),
        // The connection broke under the request, whatever code that is translated to.
        Code::Unknown | Code::Internal | Code::Cancelled if broken => Verdict::Suspicious(Scope::Worker),
        // The engine process died or ran out of room, or the call was cut.
        Code::Aborted | Code::Cancelled => Verdict::Suspicious(Scope::Replica),
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => Verdict::Tell(own(status)),
    }
}

/// The terminal status of a stream that failed after output was passed on.
pub fn after_output(status: &Status, worker: &str) -> Status {
    match status.code() {
        Code::DeadlineExceeded | Code::Aborted => own(status),
        Code::Internal | Code::DataLoss if status.source().is_none() => own(status),
        _ => {
            let what =
                if status.source().is_some() { "the connection to it broke" } else { status.message() };
            Status::aborted(format!("worker {worker:?} stopped in the middle of the answer: {what}"))
        }
    }
}

/// Whether the connection stood when the call was made.
fn connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<hearth_tls::DialError>() || error.is::<tonic::ConnectError>() {
            return false;
        }
        source = error.source();
    }
    true
}

/// A status as our own: with the worker's code, message and details, without the headers of the
/// connection it came by.
fn own(status: &Status) -> Status {
    Status::with_details(status.code(), status.message(), status.details().to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_refuses_is_not_suspicious() {
        let draining = || Status::unavailable("draining");
        let elsewhere = |status: Status, taken| {
            matches!(before_output(&status, taken), Verdict::Elsewhere(Scope::Replica))
        };
        assert!(elsewhere(draining(), false));
        assert!(elsewhere(Status::not_found("unloaded"), false));
        assert!(elsewhere(Status::resource_exhausted("full"), false));
        assert!(elsewhere(Status::resource_exhausted("full"), true));
        assert!(!elsewhere(draining(), true), "the same words after it took the request");
    }

    #[test]
    fn the_requests_own_faults_are_told() {
        for status in [Status::invalid_argument("x"), Status::out_of_range("x"), Status::internal("x")] {
            assert!(matches!(before_output(&status, true), Verdict::Tell(_)));
        }
    }

    #[test]
    fn whatever_dies_under_a_request_is_suspicious() {
        let mut broken = Status::unknown("h2 protocol error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        assert!(matches!(before_output(&broken, false), Verdict::Suspicious(Scope::Worker)));
        assert!(matches!(
            before_output(&Status::aborted("engine died"), false),
            Verdict::Suspicious(Scope::Replica)
        ));
    }

    #[test]
    fn there_is_one_code_for_death_in_mid_stream() {
        let mut broken = Status::unknown("h2 protocol error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        let told = after_output(&broken, "box");
        assert_eq!(told.code(), Code::Aborted);
        assert_eq!(
            told.message(),
            "worker \"box\" stopped in the middle of the answer: the connection to it broke"
        );
        assert_eq!(after_output(&Status::unavailable("draining"), "box").code(), Code::Aborted);
        assert_eq!(after_output(&Status::internal("bug"), "box").message(), "bug");
    }
}
