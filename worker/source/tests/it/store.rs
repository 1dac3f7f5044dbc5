use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use hearth_source::{
    Blob, Digest, FetchError, HttpError, Location, Policy, Progress, Resolved, Retry, Sources, Store,
};

use tokio::net::TcpListener;

use crate::server::{Answer, Hub};

const IMPATIENT: Retry =
    Retry { first: Duration::from_millis(1), longest: Duration::from_millis(4), times: 3 };

fn open(root: &Path) -> Store {
    Store::open(root).unwrap().with_retry(IMPATIENT)
}

/// Bytes that do not repeat.
fn file(len: u32) -> Bytes {
    (0..len / 4).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn resolved(hub: &Hub, bytes: &[u8], sha256: bool) -> Resolved {
    Resolved {
        location: hub.url("/files/a.gguf").parse().unwrap(),
        revision: "v1".to_owned(),
        sha256: sha256.then(|| Digest::of(bytes)),
        size_bytes: bytes.len() as u64,
    }
}

async fn fetch(store: &Store, hub: &Hub, resolved: &Resolved) -> Result<Blob, FetchError> {
    store.fetch(&hub.sources(), resolved, None, &|_| {}).await
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// The only file that is being fetched.
fn partial(root: &Path) -> PathBuf {
    let paths = std::fs::read_dir(root.join("partial")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = paths.filter(|path| path.extension().is_none()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_file_is_fetched_once_and_its_progress_told() {
    let bytes = file(3 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let resolved = resolved(&hub, &bytes, true);
    let told = Mutex::new(Vec::new());
    let tell = |p: Progress| told.lock().unwrap().push(p);
    let blob = store.fetch(&hub.sources(), &resolved, None, &tell).await.unwrap();
    assert_eq!(std::fs::read(&blob.path).unwrap(), bytes);
    assert_eq!((blob.sha256, blob.size_bytes), (Digest::of(&bytes), 3 << 20));
    let told = told.into_inner().unwrap();
    assert!(told.is_sorted_by_key(|p| p.done_bytes) && told.len() > 4);
    assert_eq!(told.last(), Some(&Progress { done_bytes: 3 << 20, total_bytes: 3 << 20 }));
    assert_eq!((entries(&root.path().join("partial")), store.used_bytes().unwrap()), (0, 3 << 20));
    assert!(store.capacity_bytes().unwrap() > 3 << 20);

    fetch(&store, &hub, &resolved).await.unwrap();
    fetch(&open(root.path()), &hub, &resolved).await.unwrap();
    assert_eq!(hub.ranges().len(), 1);
}

#[tokio::test]
async fn cuts_are_resumed_where_they_happened() {
    for (sha256, etag) in [(true, None), (true, Some("\"v1\"")), (false, Some("\"v1\""))] {
        let bytes = file(2 << 20);
        let hub = Hub::with("a.gguf", bytes.clone()).await;
        hub.etag(etag);
        // More cuts than retries are allowed in a row: each brings something.
        hub.answer(vec![Answer::CutAfter(300_000); 6]);
        let root = tempfile::tempdir().unwrap();
        let blob = fetch(&open(root.path()), &hub, &resolved(&hub, &bytes, sha256)).await.unwrap();
        assert_eq!(std::fs::read(&blob.path).unwrap(), bytes);
        let ranges = hub.ranges();
        assert_eq!((ranges[0].as_deref(), ranges[1].as_deref()), (None, Some("bytes=300000-")));
        assert_eq!(ranges.len(), 7, "{ranges:?}");
        assert!(hub.seen()[1..].iter().all(|s| s.if_range.as_deref() == etag));
    }
}

#[tokio::test]
async fn without_digest_and_etag_a_cut_starts_over() {
    let bytes = file(1 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    hub.answer([Answer::CutAfter(300_000)]);
    let root = tempfile::tempdir().unwrap();
    let blob = fetch(&open(root.path()), &hub, &resolved(&hub, &bytes, false)).await.unwrap();
    assert_eq!(blob.sha256, Digest::of(&bytes));
    assert_eq!(hub.ranges(), [None, None]);
}

#[tokio::test]
async fn a_fetch_that_was_dropped_is_resumed_also_by_another_process() {
    let bytes = file(2 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    hub.answer(vec![Answer::CutAfter(500_000), Answer::Status(StatusCode::SERVICE_UNAVAILABLE)]);
    let root = tempfile::tempdir().unwrap();
    let resolved = resolved(&hub, &bytes, true);
    let patient = Retry { first: Duration::from_secs(60), longest: Duration::from_secs(60), times: 9 };
    let store = Store::open(root.path()).unwrap().with_retry(patient);
    // It waits for its first retry when it is dropped.
    let dropped = tokio::time::timeout(Duration::from_secs(2), fetch(&store, &hub, &resolved)).await;
    assert!(dropped.is_err());
    drop(store);
    let blob = fetch(&open(root.path()), &hub, &resolved).await.unwrap();
    assert_eq!(std::fs::read(&blob.path).unwrap(), bytes);
    assert_eq!(hub.ranges().last().unwrap().as_deref(), Some("bytes=500000-"));
}

#[tokio::test]
async fn a_changed_file_is_fetched_anew_and_a_server_without_ranges_as_well() {
    let bytes = file(1 << 20);
    for answer in [Answer::IgnoreRange, Answer::Normal] {
        let hub = Hub::with("a.gguf", bytes.clone()).await;
        hub.etag(Some("\"v1\""));
        hub.answer([Answer::CutAfter(300_000)]);
        let root = tempfile::tempdir().unwrap();
        let once = Retry { times: 0, ..IMPATIENT };
        let store = open(root.path()).with_retry(once);
        let error = fetch(&store, &hub, &resolved(&hub, &bytes, true)).await.unwrap_err();
        assert!(matches!(error, FetchError::Http(HttpError::Cut { .. })), "{error}");
        // A digest says which bytes are meant, whatever the server calls them.
        hub.etag(Some("\"v2\""));
        hub.answer([answer]);
        let blob = fetch(&store, &hub, &resolved(&hub, &bytes, true)).await.unwrap();
        assert_eq!(std::fs::read(&blob.path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn without_a_digest_another_version_is_not_taken_for_the_one_that_was_resolved() {
    let bytes = file(1 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    hub.etag(Some("\"v1\""));
    hub.answer([Answer::CutAfter(300_000)]);
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path()).with_retry(Retry { times: 0, ..IMPATIENT });
    let v1 = resolved(&hub, &bytes, false);
    fetch(&store, &hub, &v1).await.unwrap_err();
    hub.etag(Some("W/\"v2\""));
    for _ in 0..2 {
        let error = fetch(&store, &hub, &v1).await.unwrap_err();
        assert_eq!((error.reason(), error.is_permanent()), ("SourceChanged", false));
        assert!(error.to_string().contains("has version `v2`, not `v1`"), "{error}");
        assert_eq!((store.used_bytes().unwrap(), entries(&root.path().join("sources"))), (0, 0));
    }
    let v2 = Resolved { revision: "v2".to_owned(), ..v1.clone() };
    fetch(&store, &hub, &v2).await.unwrap();
    // An address that names its version has no other.
    hub.add("v1/a.gguf", bytes);
    let named = Resolved { location: hub.url("/files/v1/a.gguf").parse().unwrap(), ..v1 };
    fetch(&store, &hub, &named).await.unwrap();
}

#[tokio::test]
async fn wrong_bytes_are_dropped() {
    let bytes = file(1 << 20);
    let mut wrong = bytes.to_vec();
    wrong[70_000] ^= 1;
    let hub = Hub::with("a.gguf", wrong.clone()).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let error = fetch(&store, &hub, &resolved(&hub, &bytes, true)).await.unwrap_err();
    assert!(error.is_permanent() && error.reason() == "DigestMismatch");
    let message = error.to_string();
    assert!(message.contains(&Digest::of(&bytes).to_string()), "{message}");
    assert!(message.contains(&Digest::of(&wrong).to_string()), "{message}");
    assert_eq!((store.used_bytes().unwrap(), hub.ranges().len()), (0, 1));
}

#[tokio::test]
async fn a_spoiled_beginning_costs_one_more_try() {
    let bytes = file(1 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let mut wrong = bytes.to_vec();
    wrong[0] ^= 1;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let resolved = resolved(&hub, &bytes, true);
    hub.answer([Answer::CutAfter(300_000)]);
    let once = store.clone().with_retry(Retry { times: 0, ..IMPATIENT });
    fetch(&once, &hub, &resolved).await.unwrap_err();
    let partial = partial(root.path());
    std::fs::write(&partial, &wrong[..300_000]).unwrap();
    let blob = fetch(&store, &hub, &resolved).await.unwrap();
    assert_eq!(std::fs::read(&blob.path).unwrap(), bytes);
    assert_eq!(hub.ranges()[1..], [Some("bytes=300000-".to_owned()), None]);
}

#[tokio::test]
async fn another_size_is_refused() {
    let bytes = file(1 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let root = tempfile::tempdir().unwrap();
    for size in [(1 << 20) - 8, (1 << 20) + 8] {
        let resolved = Resolved { size_bytes: size, ..resolved(&hub, &bytes, true) };
        let error = fetch(&open(root.path()), &hub, &resolved).await.unwrap_err();
        assert!(matches!(error, FetchError::SizeMismatch { got: 1_048_576, .. }), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_help_is_not_retried_and_what_can_is_a_few_times() {
    let bytes = file(4096);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let resolved = resolved(&hub, &bytes, true);
    for (status, reason, tries) in [
        (StatusCode::NOT_FOUND, "SourceNotFound", 1),
        (StatusCode::UNAUTHORIZED, "SourceUnauthorized", 1),
        (StatusCode::BAD_REQUEST, "SourceBadAnswer", 1),
        (StatusCode::SERVICE_UNAVAILABLE, "SourceBadAnswer", 4),
    ] {
        let before = hub.ranges().len();
        hub.answer(vec![Answer::Status(status); tries]);
        let error = fetch(&store, &hub, &resolved).await.unwrap_err();
        assert_eq!((error.reason(), hub.ranges().len() - before), (reason, tries), "{error}");
        assert_eq!(error.is_permanent(), tries == 1);
    }
    fetch(&store, &hub, &resolved).await.unwrap();
}

#[tokio::test]
async fn callers_of_one_file_share_one_fetch() {
    let bytes = file(1 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let resolved = resolved(&hub, &bytes, true);
    let all = (0..8).map(|_| fetch(&store, &hub, &resolved));
    let all = futures::future::try_join_all(all).await.unwrap();
    assert!(all.iter().all(|b| b.sha256 == Digest::of(&bytes)));
    assert_eq!(hub.ranges().len(), 1);
}

/// Whoever names a digest may name any source for it.
#[tokio::test]
async fn a_source_that_does_not_answer_holds_up_no_other() {
    let bytes = file(1 << 20);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let good = resolved(&hub, &bytes, true);
    let url = format!("https://{}/files/a.gguf", silent.local_addr().unwrap());
    let bad = Resolved { location: url.parse().unwrap(), ..good.clone() };
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let held_up = tokio::spawn({
        let (store, hub) = (store.clone(), hub.clone());
        async move { fetch(&store, &hub, &bad).await }
    });
    let _connection = silent.accept().await.unwrap();
    let soon = Duration::from_secs(30);
    let blob = tokio::time::timeout(soon, fetch(&store, &hub, &good)).await.unwrap().unwrap();
    // What came is everybody's, and nothing else is left.
    let other = tokio::time::timeout(soon, held_up).await.unwrap().unwrap().unwrap();
    assert_eq!(other.path, blob.path);
    assert_eq!(entries(&root.path().join("partial")), 0);
}

#[tokio::test]
async fn a_digest_that_was_computed_is_remembered_with_its_revision() {
    let bytes = file(4096);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let v1 = resolved(&hub, &bytes, false);
    assert_eq!(fetch(&store, &hub, &v1).await.unwrap().sha256, Digest::of(&bytes));
    fetch(&store, &hub, &v1).await.unwrap();
    assert_eq!(hub.ranges().len(), 1);
    for revision in ["v2", ""] {
        fetch(&store, &hub, &Resolved { revision: revision.to_owned(), ..v1.clone() }).await.unwrap();
    }
    fetch(&store, &hub, &Resolved { revision: String::new(), ..v1.clone() }).await.unwrap();
    assert_eq!(hub.ranges().len(), 4);
}

#[tokio::test]
async fn a_full_disk_is_found_before_and_while_writing() {
    let bytes = file(4096);
    let hub = Hub::with("a.gguf", bytes.clone()).await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let huge = Resolved { size_bytes: 1 << 60, ..resolved(&hub, &bytes, true) };
    let error = fetch(&store, &hub, &huge).await.unwrap_err();
    assert!(matches!(error, FetchError::DiskFull { free, .. } if free > 0), "{error}");
    assert!(hub.ranges().is_empty());

    // A device on which every write fails for want of room.
    let resolved = resolved(&hub, &bytes, true);
    let partial = partial(root.path());
    std::fs::remove_file(&partial).unwrap();
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    let error = fetch(&store, &hub, &resolved).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), ("DiskFull", false), "{error}");
    std::fs::remove_file(&partial).unwrap();
    fetch(&store, &hub, &resolved).await.unwrap();
}

#[tokio::test]
async fn the_quota_holds_also_for_files_that_come_at_the_same_time() {
    let hub = Hub::start().await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path()).with_quota(Some(100_000));
    let one = |name: &str, size| {
        let bytes = file(size);
        hub.add(&format!("{name}.gguf"), bytes.clone());
        let location = hub.url(&format!("/files/{name}.gguf")).parse().unwrap();
        Resolved { location, ..resolved(&hub, &bytes, false) }
    };
    let (a, b, c) = (one("a", 60_000), one("b", 60_004), one("c", 39_996));
    let (first, second) = tokio::join!(fetch(&store, &hub, &a), fetch(&store, &hub, &b));
    let (kept, refused) = match (first, second) {
        (Ok(kept), Err(refused)) | (Err(refused), Ok(kept)) => (kept, refused),
        both => panic!("not one of them: {both:?}"),
    };
    let FetchError::DiskFull { needed, free, .. } = refused else { panic!("{refused}") };
    assert!(needed >= 60_000 && free <= 40_000, "{needed} needed, {free} free");
    assert_eq!(store.capacity_bytes().unwrap(), 100_000);
    assert_eq!(store.unused_bytes(&HashSet::new()).unwrap(), 0, "what is held is in use");
    // What fits beside it comes, and the room of the one that failed is free again.
    drop(fetch(&store, &hub, &c).await.unwrap());
    assert_eq!(store.unused_bytes(&HashSet::new()).unwrap(), 39_996);
    assert_eq!(store.unused_bytes(&HashSet::from([Digest::of(&file(39_996))])).unwrap(), 0);
    drop(kept);
    let collected = store.collect(&HashSet::new(), 0).unwrap();
    assert_eq!(collected.used_bytes, 0);
}

#[tokio::test]
async fn room_is_made_from_what_is_neither_kept_nor_held() {
    let hub = Hub::start().await;
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    let mut blobs = Vec::new();
    for i in 0..5u32 {
        let bytes = file(40_000 + i * 4);
        hub.add(&format!("{i}.gguf"), bytes.clone());
        let location = hub.url(&format!("/files/{i}.gguf")).parse().unwrap();
        let resolved = Resolved { location, ..resolved(&hub, &bytes, false) };
        blobs.push(fetch(&store, &hub, &resolved).await.unwrap());
        // The order of use is told by the clock of the file system.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(root.path().join("partial/source-00"), vec![0; 1000]).unwrap();
    let digests: Vec<Digest> = blobs.iter().map(|b| b.sha256).collect();
    let keep = HashSet::from([digests[0]]);
    let held = blobs.remove(1);
    drop(blobs);
    // The oldest that may go is used again.
    assert!(store.get(digests[2]).is_some());

    let before = store.used_bytes().unwrap();
    assert_eq!(store.collect(&keep, before).unwrap().removed, []);
    let collected = store.collect(&keep, before - 1).unwrap();
    assert_eq!((collected.removed.len(), collected.freed_bytes), (0, 1000), "the abandoned fetch goes first");
    let collected = store.collect(&keep, before - 2000).unwrap();
    assert_eq!(collected.removed, [digests[3]]);
    let collected = store.collect(&keep, 0).unwrap();
    assert_eq!(collected.removed, [digests[4], digests[2]]);
    assert_eq!(collected.used_bytes, store.used_bytes().unwrap());
    assert!(held.path.exists() && store.get(digests[0]).is_some());
    drop(held);
    assert_eq!(store.collect(&keep, 0).unwrap().removed, [digests[1]]);
    assert_eq!(entries(&root.path().join("sources")), 1);
}

#[tokio::test]
async fn a_file_on_a_claim_is_opened_in_place() {
    let hub = Hub::start().await;
    let (root, claims) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = claims.path().join("models/a.gguf");
    std::fs::create_dir(claims.path().join("models")).unwrap();
    let bytes = file(5 << 20);
    std::fs::write(&path, &bytes).unwrap();
    let sources = Sources::new(Policy { claims: claims.path().to_owned(), ..hub.policy() }).unwrap();
    let store = open(root.path());
    let location = Location::Claim { claim: "models".into(), path: "a.gguf".into() };
    let resolved = Resolved {
        location,
        revision: String::new(),
        sha256: Some(Digest::of(&bytes)),
        size_bytes: bytes.len() as u64,
    };
    let blob = store.fetch(&sources, &resolved, None, &|_| {}).await.unwrap();
    assert_eq!((blob.path, blob.sha256), (path.canonicalize().unwrap(), Digest::of(&bytes)));
    assert_eq!(store.used_bytes().unwrap(), 0);

    let other = Resolved { sha256: Some(Digest::of(b"other")), ..resolved.clone() };
    let error = store.fetch(&sources, &other, None, &|_| {}).await.unwrap_err();
    assert!(matches!(error, FetchError::DigestMismatch { .. }), "{error}");
    assert!(path.exists(), "a claim is not ours to clean");

    std::fs::write(&path, b"short").unwrap();
    let error = store.fetch(&sources, &resolved, None, &|_| {}).await.unwrap_err();
    assert!(matches!(error, FetchError::SizeMismatch { got: 5, .. }), "{error}");
}
