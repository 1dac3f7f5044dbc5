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

/// Judges an error that came before the first piece of output.
pub fn before_output(status: &Status) -> Verdict {
    let broken = status.source().is_some();
    match status.code() {
        // The worker is full, draining, or no longer holds the model.
        Code::Unavailable if broken && !connected(status) => Verdict::Elsewhere(Scope::Worker),
        Code::Unavailable if broken => Verdict::Suspicious(Scope::Worker),
        Code::Unavailable | Code::ResourceExhausted | Code::NotFound => Verdict::Elsewhere(Scope::Replica),
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
    fn a_full_worker_is_not_suspicious() {
        for status in
            [Status::resource_exhausted("full"), Status::unavailable("draining"), Status::not_found("x")]
        {
            assert!(matches!(before_output(&status), Verdict::Elsewhere(Scope::Replica)));
        }
    }

    #[test]
    fn the_requests_own_faults_are_told() {
        for status in [Status::invalid_argument("x"), Status::out_of_range("x"), Status::internal("x")] {
            assert!(matches!(before_output(&status), Verdict::Tell(_)));
        }
    }

    #[test]
    fn whatever_dies_under_a_request_is_suspicious() {
        let mut broken = Status::unknown("h2 protocol error");
        broken.set_source(std::sync::Arc::new(std::io::Error::other("reset")));
        assert!(matches!(before_output(&broken), Verdict::Suspicious(Scope::Worker)));
        assert!(matches!(
            before_output(&Status::aborted("engine died")),
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
