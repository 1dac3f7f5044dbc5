//! What a port does with clients that waste it. Time is paused: it goes on by itself when all
//! that is left to do is to wait.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;

/// Longer than any connection may be idle.
const LONG: Duration = Duration::from_secs(20 * 60);
const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const SLOW: &str = "GET /slow HTTP/1.1\r\nhost: x\r\n\r\n";

struct Port {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

/// Answers `here`, and to `/slow` after a long time.
async fn port(protocol: Protocol, limits: Limits) -> Port {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = tower::service_fn(|request: Request<Incoming>| async move {
        if request.uri().path() == "/slow" {
            sleep(LONG).await;
        }
        Ok(Response::new("here".to_owned()))
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let served = tokio::spawn(serve(listener, service, protocol, limits, stopped));
    Port { address, stop, served }
}

async fn said(port: &Port, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// Reads one answer.
async fn answered(stream: &mut TcpStream) {
    let mut answer = String::new();
    while !answer.ends_with("here") {
        let mut bytes = [0; 256];
        let read = stream.read(&mut bytes).await.unwrap();
        assert_ne!(read, 0, "closed after {answer:?}");
        answer.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
    }
}

/// Waits until nothing more can come, and says how long that took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    // Reset or closed: either is an end.
    let _ = stream.read_to_end(&mut rest).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_whole_request_is_closed() {
    let limits = Limits::default();
    for (protocol, beginning) in [
        (Protocol::Http, ""),
        (Protocol::Http, "GET / HT"),
        (Protocol::Http, "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n"),
        (Protocol::Http, "PRI * HT"),
        (Protocol::Grpc, ""),
        (Protocol::Grpc, "PRI * HTTP/2.0"),
        (Protocol::Grpc, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        let port = port(protocol, limits).await;
        let after = closed(&mut said(&port, beginning).await).await;
        let most = limits.first_request + Duration::from_secs(20);
        assert!((limits.first_request..most).contains(&after), "{protocol:?} {beginning:?}: {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_kept_between_requests_and_not_for_ever() {
    let limits = Limits::default();
    let port = port(Protocol::Http, limits).await;
    let mut stream = said(&port, REQUEST).await;
    answered(&mut stream).await;
    sleep(limits.idle / 2).await;
    stream.write_all(REQUEST.as_bytes()).await.unwrap();
    answered(&mut stream).await;
    let after = closed(&mut stream).await;
    assert!((limits.idle..limits.idle * 2).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_may_take_its_time() {
    let port = port(Protocol::Http, Limits::default()).await;
    let began = Instant::now();
    answered(&mut said(&port, SLOW).await).await;
    assert!(began.elapsed() >= LONG);
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted() {
    let port = port(Protocol::Http, Limits { connections: 1, ..Limits::default() }).await;
    let mut first = said(&port, REQUEST).await;
    answered(&mut first).await;
    let mut second = said(&port, REQUEST).await;
    assert!(timeout(Duration::from_secs(5), answered(&mut second)).await.is_err());
    drop(first);
    answered(&mut second).await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_finished_before_the_end() {
    let port = port(Protocol::Http, Limits::default()).await;
    let mut idle = said(&port, REQUEST).await;
    answered(&mut idle).await;
    let mut running = said(&port, SLOW).await;
    let mut silent = said(&port, "").await;
    sleep(Duration::from_secs(1)).await;
    port.stop.send(()).unwrap();
    assert!(closed(&mut idle).await < Duration::from_secs(20));
    assert!(closed(&mut silent).await < Duration::from_secs(20));
    answered(&mut running).await;
    port.served.await.unwrap();
}
