//! A message over the limit is refused with the code that other gRPC servers use.
//!
//! tonic answers `OUT_OF_RANGE`, which clients take for a wrong value in the request.

use http::{HeaderValue, Response};
use tonic::{Code, Status};

use super::MAX_MESSAGE;

/// tonic's words, as they are escaped in the header.
const TONIC_SAYS: &str = "decoded%20message%20length%20too%20large";

/// Replaces tonic's answer to a message over the limit; leaves all others alone.
pub(super) fn clarify<B: Default>(response: Response<B>) -> Response<B> {
    let headers = response.headers();
    let says = |header: &HeaderValue| header.to_str().is_ok_and(|text| text.contains(TONIC_SAYS));
    let too_large = headers.get(Status::GRPC_STATUS).is_some_and(|code| code == out_of_range().as_str())
        && headers.get(Status::GRPC_MESSAGE).is_some_and(says);
    if !too_large {
        return response;
    }
    Status::resource_exhausted(format!(
        "the request is larger than {MAX_MESSAGE} bytes: send a shorter prompt or fewer messages"
    ))
    .into_http()
}

fn out_of_range() -> String {
    (Code::OutOfRange as i32).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_after(status: Status) -> Code {
        let response = clarify(status.into_http::<()>());
        Status::from_header_map(response.headers()).unwrap().code()
    }

    #[test]
    fn only_messages_over_the_limit() {
        let tonic = "Error, decoded message length too large: found 10 bytes, the limit is: 4 bytes";
        assert_eq!(code_after(Status::out_of_range(tonic)), Code::ResourceExhausted);
        assert_eq!(code_after(Status::out_of_range("context")), Code::OutOfRange);
        assert_eq!(code_after(Status::internal(tonic)), Code::Internal);
    }
}
