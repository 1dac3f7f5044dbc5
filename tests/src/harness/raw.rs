//! gRPC without a client library: requests that no client would send, and answers as they are.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, time::timeout};
use tonic::{Code, Status};

/// An answer that takes longer than this hangs.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Calls a method with one message, as bytes, on a connection of its own, and gives the status that
/// the server ended the call with. Nothing here looks at a deadline but the server.
pub(crate) async fn call(
    address: &str,
    method: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Status> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("dialling {address}"))?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answered = timeout(ANSWERS_WITHIN, async {
        let mut request = http::Request::post(format!("http://{address}{method}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = sender.send_request(request.body(Full::new(frame(message)?))?).await?;
        if let Some(status) = status(response.headers()) {
            return Ok(status);
        }
        let collected = response.into_body().collect().await?;
        collected.trailers().and_then(status).context("the call ended without a status")
    });
    let answered = answered.await.context("no answer");
    connection.abort();
    answered?
}

/// One uncompressed message with its length before it.
fn frame(message: &[u8]) -> Result<Bytes> {
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len())?.to_be_bytes());
    frame.extend_from_slice(message);
    Ok(frame.into())
}

fn status(headers: &http::HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?.to_str().ok()?;
    let code = Code::from_i32(i32::from_str(code).ok()?);
    Some(Status::from_header_map(headers).unwrap_or_else(|| Status::new(code, "")))
}
