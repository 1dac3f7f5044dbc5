//! Requests that no handler sees, because they cannot be read.
//!
//! tonic answers a message over its limit with `OUT_OF_RANGE`, in words that do not
//! say what to do, and one that does not decode with `INTERNAL`,
//! which they take for a fault of the server.

use tonic::codegen::http::{HeaderValue, Response};
use tonic::{Code, Status};

/// tonic's words, as they are escaped in the header.
const TOO_LARGE: &str = "decoded%20message%20length%20too%20large";
/// prost's words, likewise.
const UNDECODABLE: &str = "failed%20to%20decode%20Protobuf%20message";

/// Replaces the answer to a request that could not be read by one that says what
/// to do; leaves all others alone. `limit` is the most bytes of a message that the
/// server takes.
pub fn clarify<B: Default>(response: Response<B>, limit: usize) -> Response<B> {
    let headers = response.headers();
    let is = |code: Code, words: &str| {
        let says = |header: &HeaderValue| header.to_str().is_ok_and(|text| text.contains(words));
        headers.get(Status::GRPC_STATUS).is_some_and(|given| given == (code as i32).to_string().as_str())
            && headers.get(Status::GRPC_MESSAGE).is_some_and(says)
    };
    let status = if is(Code::OutOfRange, TOO_LARGE) {
        too_large(limit)
    } else if is(Code::Internal, UNDECODABLE) {
        Status::invalid_argument(
            "the request is not a message of this method: use a client made from Hearth's .proto files, and \
             text that is valid UTF-8",
        )
    } else {
        return response;
    };
    status.into_http()
}

/// The answer to a request over the limit. Not `RESOURCE_EXHAUSTED`, as some have it: that is
/// what a server says that is full, and to try again is in vain here.
pub fn too_large(limit: usize) -> Status {
    Status::invalid_argument(format!(
        "the request is larger than {limit} bytes: send a shorter prompt or fewer messages"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(status: Status) -> Status {
        let response = clarify(status.into_http::<()>(), 4096);
        Status::from_header_map(response.headers()).unwrap()
    }

    #[test]
    fn only_messages_over_the_limit() {
        let tonic = "Error, decoded message length too large: found 10 bytes, the limit is: 4 bytes";
        let clear = after(Status::out_of_range(tonic));
        assert_eq!(clear.code(), Code::InvalidArgument);
        assert!(clear.message().contains("4096"), "{}", clear.message());
        assert_eq!(after(Status::out_of_range("context")).code(), Code::OutOfRange);
        assert_eq!(after(Status::internal(tonic)).code(), Code::Internal);
    }

    #[test]
    fn only_messages_that_do_not_decode() {
        let prost = <String as prost::Message>::decode(&[0x0a, 0x01, 0xff][..]).unwrap_err();
        let clear = after(Status::internal(prost.to_string()));
        assert_eq!(clear.code(), Code::InvalidArgument);
        assert!(clear.message().contains("UTF-8"), "{}", clear.message());
        assert_eq!(after(Status::internal("a bug")).code(), Code::Internal);
    }
}
