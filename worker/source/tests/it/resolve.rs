use axum::http::StatusCode;
use hearth_source::{Digest, Location, Quantization, ResolveError, Resolved, Sources, Token, Uri};

use crate::server::{Answer, COMMIT, Hub};

async fn resolve(sources: &Sources, uri: &str, token: Option<&str>) -> Result<Resolved, ResolveError> {
    let token = token.and_then(Token::new);
    let uri: Uri = uri.parse().unwrap();
    sources.resolve(&uri, &Quantization::Auto, token.as_ref()).await
}

#[tokio::test]
async fn a_repository_gives_its_best_file() {
    let hub = Hub::with("m-Q8_0.gguf", "eight").await;
    hub.add("README.md", "hello");
    hub.add("sub/m-Q4_K_M.gguf", "four");
    for uri in ["hf://owner/repo", "hf://owner/repo@main", "hf://owner/repo/sub/m-Q4_K_M.gguf@refs/pr/1"] {
        let resolved = resolve(&hub.sources(), uri, None).await.unwrap();
        assert_eq!(
            resolved.location.to_string(),
            hub.url(&format!("/owner/repo/resolve/{COMMIT}/sub/m-Q4_K_M.gguf"))
        );
        assert_eq!((resolved.revision.as_str(), resolved.size_bytes), (COMMIT, 4));
        assert_eq!(resolved.sha256, Some(Digest::of(b"four")));
    }
    let named = Quantization::Named("Q8_0".to_owned());
    let uri: Uri = "hf://owner/repo".parse().unwrap();
    let resolved = hub.sources().resolve(&uri, &named, None).await.unwrap();
    assert!(resolved.location.to_string().ends_with("/m-Q8_0.gguf"));
}

#[tokio::test]
async fn what_the_hub_does_not_have() {
    let hub = Hub::with("a.gguf", "a").await;
    let error = resolve(&hub.sources(), "hf://owner/repo@other", None).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), ("SourceNotFound", true));
    let error = resolve(&hub.sources(), "hf://owner/repo/b.gguf", None).await.unwrap_err();
    assert!(error.to_string().contains("no file `b.gguf`; its GGUF files are a.gguf"), "{error}");
    let error = resolve(&hub.sources(), "hf://nobody/nothing", None).await.unwrap_err();
    assert_eq!(error.reason(), "SourceNotFound");
}

#[tokio::test]
async fn a_token_opens_what_is_closed_and_is_not_shown() {
    let hub = Hub::with("a.gguf", "a").await;
    hub.require_token("hf_secret");
    let error = resolve(&hub.sources(), "hf://owner/repo", None).await.unwrap_err();
    assert_eq!(error.reason(), "SourceUnauthorized");
    assert!(error.to_string().contains("source.secretRef"), "{error}");
    let error = resolve(&hub.sources(), "hf://owner/repo", Some("hf_wrong")).await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hf_wrong"));
    assert!(resolve(&hub.sources(), "hf://owner/repo", Some("hf_secret\n")).await.is_ok());
}

#[tokio::test]
async fn a_url_of_its_own() {
    let hub = Hub::with("a.gguf", "abcdef").await;
    hub.etag(Some("\"v1\""));
    let url = hub.url("/files/a.gguf?signature=s3cret");
    let resolved = resolve(&hub.sources(), &url, None).await.unwrap();
    assert_eq!((resolved.revision.as_str(), resolved.size_bytes, resolved.sha256), ("v1", 6, None));
    assert_eq!(resolved.location.to_string(), url);
    assert_eq!(hub.ranges(), [Some("bytes=0-0".to_owned())]);

    hub.answer([Answer::IgnoreRange]);
    assert_eq!(resolve(&hub.sources(), &url, None).await.unwrap().size_bytes, 6);

    hub.answer([Answer::Status(StatusCode::NOT_FOUND)]);
    let error = resolve(&hub.sources(), &url, None).await.unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("404"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    hub.answer([Answer::Status(StatusCode::BAD_GATEWAY)]);
    assert!(!resolve(&hub.sources(), &url, None).await.unwrap_err().is_permanent());
}

#[tokio::test]
async fn a_url_of_the_hub_tells_its_digest_in_the_redirect() {
    let hub = Hub::with("a.gguf", "abcdef").await;
    let url = hub.url("/owner/repo/resolve/main/a.gguf");
    let resolved = resolve(&hub.sources(), &url, None).await.unwrap();
    assert_eq!((resolved.revision.as_str(), resolved.size_bytes), (COMMIT, 6));
    assert_eq!(resolved.sha256, Some(Digest::of(b"abcdef")));
}

#[tokio::test]
async fn a_size_that_no_file_has_is_refused() {
    let hub = Hub::with("a.gguf", "abcdef").await;
    let url = hub.url("/owner/repo/resolve/main/a.gguf");
    for bytes in [u64::MAX, 1 << 63] {
        hub.linked_size(bytes);
        let error = resolve(&hub.sources(), &url, None).await.unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("SourceBadAnswer", true));
        assert!(error.to_string().contains(&format!("{bytes} bytes, more than any file")), "{error}");
    }
    hub.linked_size(i64::MAX as u64);
    assert_eq!(resolve(&hub.sources(), &url, None).await.unwrap().size_bytes, i64::MAX as u64);
}

#[tokio::test]
async fn a_redirect_is_told_without_its_query() {
    let hub = Hub::with("a.gguf", "abcdef").await;
    for to in ["http://u:s3cret@h/b.gguf?signature=s3cret", "ftp://h/b.gguf?signature=s3cret#s3cret"] {
        hub.answer([Answer::Redirect(to.to_owned())]);
        let error = resolve(&hub.sources(), &hub.url("/files/a.gguf"), None).await.unwrap_err().to_string();
        assert!(error.contains("://h/b.gguf`, which is not an https URL"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

#[tokio::test]
async fn a_claim() {
    let hub = Hub::start().await;
    let claims = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(claims.path().join("models/deep")).unwrap();
    std::fs::create_dir(claims.path().join("other")).unwrap();
    std::fs::write(claims.path().join("models/deep/a.gguf"), "abc").unwrap();
    std::fs::write(claims.path().join("other/secret.gguf"), "abc").unwrap();
    std::os::unix::fs::symlink("../other/secret.gguf", claims.path().join("models/link.gguf")).unwrap();
    let policy = hearth_source::Policy { claims: claims.path().to_owned(), ..hub.policy() };
    let sources = Sources::new(policy).unwrap();

    let resolved = resolve(&sources, "pvc://models/deep/a.gguf", None).await.unwrap();
    assert_eq!((resolved.size_bytes, resolved.sha256), (3, None));
    assert!(matches!(resolved.location, Location::Claim { .. }));
    let cases = [
        ("pvc://absent/a.gguf", "the claim is not mounted", false),
        ("pvc://models/b.gguf", "there is no such file", false),
        ("pvc://models/deep", "it is not a file", true),
        ("pvc://models/link.gguf", "it leads out of the claim", true),
    ];
    for (uri, expected, permanent) in cases {
        let error = resolve(&sources, uri, None).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.is_permanent(), permanent, "{uri}");
    }
}
