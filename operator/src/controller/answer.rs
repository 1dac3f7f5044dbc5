//! How long the API server is waited for.

use std::time::Duration;

use tokio::time::timeout;

/// Longer than a server at work takes for any call of ours, watches aside. One that
/// says nothing by then is not heard any more, however well its connection looks.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The API server did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {} s", ANSWERS_WITHIN.as_secs())]
struct Silent;

/// What `call` gives, or that the API server did not answer: the client itself
/// would wait for ever.
///
/// # Errors
/// What the API server says, or that it says nothing.
pub(super) async fn answered<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    match timeout(ANSWERS_WITHIN, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(kube::Error::Service(Box::new(Silent))),
    }
}
