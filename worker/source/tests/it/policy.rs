use hearth_source::{
    HttpError, PlainHttp, Policy, Quantization, ResolveError, SetupError, Sources, Token, Uri,
};

use crate::server::{Answer, Hub};

async fn refused(policy: Policy, uri: &str) -> ResolveError {
    let uri = Uri::parse(uri, PlainHttp::Allow).unwrap();
    Sources::new(policy).unwrap().resolve(&uri, &Quantization::Auto, None).await.unwrap_err()
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let hub = Hub::with("a.gguf", "abc").await;
    let strict = || Policy { allow_private: false, ..hub.policy() };
    let port = hub.address.port();
    for host in ["127.0.0.1", "localhost", "[::1]", "0x7f.1", "169.254.169.254"] {
        let error = refused(strict(), &format!("https://{host}:{port}/files/a.gguf")).await;
        assert_eq!((error.reason(), error.is_permanent()), ("SourceForbidden", true), "{host}: {error}");
        assert!(error.to_string().contains("not a public address"), "{error}");
    }
    assert!(hub.seen().is_empty(), "nothing may reach the server");
    let error = refused(strict(), "hf://owner/repo").await;
    assert_eq!(error.reason(), "SourceForbidden");
    // The metadata service stays out of reach also where private networks are allowed.
    let error = refused(hub.policy(), "https://169.254.169.254/latest/meta-data").await;
    assert_eq!(error.reason(), "SourceForbidden");
}

#[tokio::test]
async fn a_named_network_is_allowed() {
    let hub = Hub::with("a.gguf", "abc").await;
    let policy =
        Policy { allow_private: false, allowed: vec!["127.0.0.0/8".parse().unwrap()], ..hub.policy() };
    let uri: Uri = hub.url("/files/a.gguf").parse().unwrap();
    let sources = Sources::new(policy).unwrap();
    assert_eq!(sources.resolve(&uri, &Quantization::Auto, None).await.unwrap().size_bytes, 3);
}

#[tokio::test]
async fn a_redirect_is_checked_as_the_first_url_is() {
    let hub = Hub::with("a.gguf", "abc").await;
    let url = hub.url("/files/a.gguf");
    let cases = [
        ("https://169.254.169.254/latest", "SourceForbidden"),
        ("http://127.0.0.1/a", "SourceBadAnswer"),
        ("file:///etc/passwd", "SourceBadAnswer"),
        ("https://[", "SourceBadAnswer"),
    ];
    for (to, reason) in cases {
        hub.answer([Answer::Redirect(to.to_owned())]);
        assert_eq!(refused(hub.policy(), &url).await.reason(), reason, "{to}");
    }
    hub.answer(vec![Answer::Redirect(url.clone()); 20]);
    let error = refused(hub.policy(), &url).await;
    assert!(matches!(error, ResolveError::Http(HttpError::TooManyRedirects { allowed: 8, .. })), "{error}");
}

#[tokio::test]
async fn a_token_stays_with_its_origin() {
    let (hub, elsewhere) = (Hub::with("a.gguf", "abc").await, Hub::with("b.gguf", "abc").await);
    hub.answer([Answer::Redirect(elsewhere.url("/files/b.gguf"))]);
    // Both servers must be trusted by one client.
    let both = tempfile::NamedTempFile::new().unwrap();
    let read = |hub: &Hub| std::fs::read_to_string(hub.policy().extra_ca.unwrap()).unwrap();
    std::fs::write(both.path(), read(&hub) + &read(&elsewhere)).unwrap();
    let policy = Policy { extra_ca: Some(both.path().to_owned()), ..hub.policy() };
    let uri: Uri = hub.url("/files/a.gguf").parse().unwrap();
    let token = Token::new("secret");
    Sources::new(policy).unwrap().resolve(&uri, &Quantization::Auto, token.as_ref()).await.unwrap();
    assert_eq!(hub.seen()[0].authorization.as_deref(), Some("Bearer secret"));
    assert_eq!(elsewhere.seen()[0].authorization, None);
}

#[tokio::test]
async fn trust_and_plain_text() {
    let hub = Hub::with("a.gguf", "abc").await;
    let error = refused(Policy { extra_ca: None, ..hub.policy() }, &hub.url("/files/a.gguf")).await;
    assert_eq!((error.reason(), error.is_permanent()), ("SourceUnreachable", false), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");

    let plain = format!("http://{}/files/a.gguf", hub.address);
    assert_eq!(refused(hub.policy(), &plain).await.reason(), "SourceForbidden");
    let allowed = Policy { plain_http: PlainHttp::Allow, ..hub.policy() };
    // The server speaks TLS: that it was asked at all is what counts.
    assert_ne!(refused(allowed, &plain).await.reason(), "SourceForbidden");
}

#[test]
fn a_bad_ca_file_is_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path(), "/nonexistent/ca.pem".as_ref()] {
        let policy = Policy { extra_ca: Some(path.to_owned()), ..Policy::default() };
        let error = Sources::new(policy).unwrap_err();
        assert!(matches!(&error, SetupError::ExtraCa { .. }));
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
