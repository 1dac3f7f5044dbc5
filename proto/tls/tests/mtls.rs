//! Real sockets, real handshakes: who gets through, who does not, and what a
//! rotation disturbs.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use hearth_tls::testing::TestCa;
use hearth_tls::{DialOptions, Guard, Identity, Incoming, Live, Role, WrongIdentity, dial};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Server};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

fn worker() -> Identity {
    Identity::worker("box").unwrap()
}

/// A server that lets controllers ask for its health; returns its address.
async fn serve(live: &Live) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_, health) = tonic_health::server::health_reporter();
    let guarded = InterceptedService::new(health, Guard::roles(&[Role::Controller]));
    let incoming = Incoming::new(listener, live.clone());
    tokio::spawn(Server::builder().add_service(guarded).serve_with_incoming(incoming));
    address
}

async fn check(channel: &Channel) -> Result<(), Status> {
    let request = HealthCheckRequest { service: String::new() };
    HealthClient::new(channel.clone()).check(request).await.map(|_| ())
}

fn quick() -> DialOptions {
    DialOptions { connect_timeout: Duration::from_secs(2), ..DialOptions::default() }
}

/// The whole chain of an error, to look for words in.
fn chain(status: &Status) -> String {
    let mut text = status.to_string();
    let mut next = status.source();
    while let Some(error) = next {
        text += &format!(" <- {error}");
        next = error.source();
    }
    text
}

#[tokio::test]
async fn the_right_role_gets_through() {
    let ca = TestCa::new();
    let address = serve(&ca.live(&worker())).await;
    check(&dial(address, worker(), &ca.live(&Identity::Controller), &quick())).await.unwrap();
}

#[tokio::test]
async fn another_role_is_denied() {
    let ca = TestCa::new();
    let address = serve(&ca.live(&worker())).await;
    let denied = check(&dial(address, worker(), &ca.live(&Identity::Gateway), &quick())).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn another_ca_is_refused_by_both_sides() {
    let (ours, theirs) = (TestCa::new(), TestCa::new());
    let address = serve(&ours.live(&worker())).await;
    let stranger = theirs.live(&Identity::Controller);
    let refused = check(&dial(&address, worker(), &stranger, &quick())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(chain(&refused).contains("invalid peer certificate"), "{}", chain(&refused));

    // A client that trusts us, but shows a certificate of another CA.
    let mut pem = theirs.issue(&Identity::Controller);
    pem.ca = ours.ca();
    let stranger = Live::new(pem.credentials());
    let refused = check(&dial(&address, worker(), &stranger, &quick())).await.unwrap_err();
    assert_ne!(refused.code(), Code::Ok);
}

#[tokio::test]
async fn another_server_is_not_spoken_to() {
    let ca = TestCa::new();
    let address = serve(&ca.live(&Identity::worker("other").unwrap())).await;
    let refused =
        check(&dial(address, worker(), &ca.live(&Identity::Controller), &quick())).await.unwrap_err();
    let text = chain(&refused);
    let expected = WrongIdentity { expected: worker(), found: Identity::worker("other").unwrap() };
    assert!(text.contains(&expected.to_string()), "{text}");
}

#[tokio::test]
async fn a_client_that_is_nobody_is_refused() {
    let ca = TestCa::new();
    let address = serve(&ca.live(&worker())).await;
    // A certificate of our CA, but without a name of ours in it.
    let nameless = ca.issue_with(&Identity::Controller, |p| {
        p.subject_alt_names.pop();
    });
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(nameless.ca.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(nameless.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(nameless.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let tcp = TcpStream::connect(&address).await.unwrap();
    let name = ServerName::try_from(worker().dns_name()).unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    // In TLS 1.3 a client hears only afterwards that it was refused.
    let error = stream.read(&mut [0; 1]).await.unwrap_err();
    assert!(error.to_string().contains("alert"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let ca = TestCa::new();
    let expired = ca.issue_with(&worker(), |p| {
        p.not_before = rcgen::date_time_ymd(2020, 1, 1);
        p.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let address = serve(&Live::new(expired.credentials())).await;
    let refused =
        check(&dial(address, worker(), &ca.live(&Identity::Controller), &quick())).await.unwrap_err();
    assert!(chain(&refused).contains("expired"), "{}", chain(&refused));
}

#[tokio::test]
async fn plain_text_is_refused_and_disturbs_nobody() {
    let ca = TestCa::new();
    let address = serve(&ca.live(&worker())).await;
    let mut plain = TcpStream::connect(&address).await.unwrap();
    plain.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    // And one that says nothing at all, whose handshake is still open.
    let _silent = TcpStream::connect(&address).await.unwrap();
    check(&dial(&address, worker(), &ca.live(&Identity::Controller), &quick())).await.unwrap();
    let mut rest = Vec::new();
    // An alert, then the end.
    let _ = plain.read_to_end(&mut rest).await;
    assert!(rest.len() < 16, "{rest:?}");
}

#[tokio::test]
async fn a_server_that_accepts_but_is_silent_times_out() {
    let ca = TestCa::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let options = DialOptions { connect_timeout: Duration::from_millis(200), ..DialOptions::default() };
    let refused =
        check(&dial(address, worker(), &ca.live(&Identity::Controller), &options)).await.unwrap_err();
    assert!(chain(&refused).contains("did not answer in time"), "{}", chain(&refused));
}

#[tokio::test]
async fn rotation_leaves_connections_alone_and_changes_new_ones() {
    let (old, new) = (TestCa::new(), TestCa::new());
    let server = old.live(&worker());
    let client = old.live(&Identity::Controller);
    let address = serve(&server).await;
    let standing = dial(&address, worker(), &client, &quick());
    check(&standing).await.unwrap();

    server.replace(new.credentials(&worker()));
    check(&standing).await.expect("the connection that stands is left alone");
    let fresh = dial(&address, worker(), &client, &quick());
    check(&fresh).await.expect_err("the client does not trust the new CA yet");

    client.replace(new.credentials(&Identity::Controller));
    check(&fresh).await.expect("the same channel connects with the credentials now in force");
}

#[tokio::test]
async fn a_directory_is_followed_through_a_swap() {
    let (old, new) = (TestCa::new(), TestCa::new());
    let dir = tempfile::tempdir().unwrap();
    // As the kubelet lays a Secret out: versions, a link to the one in force,
    // and a link a file through that.
    let version = |name: &str, ca: &TestCa| {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        ca.issue(&worker()).write(&path);
    };
    version("..1", &old);
    let data = dir.path().join("..data");
    std::os::unix::fs::symlink("..1", &data).unwrap();
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        std::os::unix::fs::symlink(format!("..data/{file}"), dir.path().join(file)).unwrap();
    }

    let live = Live::from_dir(dir.path()).await.unwrap();
    let address = serve(&live).await;
    check(&dial(&address, worker(), &old.live(&Identity::Controller), &quick())).await.unwrap();

    let mut changes = live.subscribe();
    version("..2", &new);
    let next = dir.path().join("..data_tmp");
    std::os::unix::fs::symlink("..2", &next).unwrap();
    std::fs::rename(next, &data).unwrap();
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
    check(&dial(&address, worker(), &new.live(&Identity::Controller), &quick())).await.unwrap();
}

#[tokio::test]
async fn an_unusable_change_keeps_the_old_credentials() {
    let ca = TestCa::new();
    let dir = tempfile::tempdir().unwrap();
    ca.issue(&worker()).write(dir.path());
    let live = Live::from_dir(dir.path()).await.unwrap();
    let before = live.current();
    let mut changes = live.subscribe();
    std::fs::write(dir.path().join("tls.key"), "rubbish").unwrap();
    // Two looks later it has surely been seen.
    assert!(tokio::time::timeout(Duration::from_millis(2500), changes.changed()).await.is_err());
    assert!(Arc::ptr_eq(&before, &live.current()));
    ca.issue(&worker()).write(dir.path());
    tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Live::from_dir(dir.path()).await.unwrap_err().to_string();
    assert!(error.ends_with("tls.crt"), "{error}");
}
