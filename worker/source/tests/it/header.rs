use hearth_model::testing::{TinyLlama, tiny_llama};
use hearth_model::{Array, DType, Value};
use hearth_source::{HeaderFetchError, Location, Policy, Resolved, Sources};

use crate::server::{Answer, Hub};

fn resolved(hub: &Hub, size_bytes: usize) -> Resolved {
    Resolved {
        location: hub.url("/files/a.gguf").parse().unwrap(),
        revision: String::new(),
        sha256: None,
        size_bytes: size_bytes as u64,
    }
}

/// A model whose header is about 3 MiB and whose data is 8 MiB more.
fn large() -> Vec<u8> {
    let filler = Value::Array(Array::U8(vec![7; 3 << 20]));
    let builder = TinyLlama::new(1).builder().meta("test.filler", filler);
    builder.tensor("x.attn_rot_embd", DType::I8, &[8 << 20], vec![0; 8 << 20]).build()
}

#[tokio::test]
async fn a_small_file_takes_one_request() {
    let file = tiny_llama(1);
    let hub = Hub::with("a.gguf", file.clone()).await;
    let model = hub.sources().header(&resolved(&hub, file.len()), None).await.unwrap();
    assert_eq!((model.dims.layers, model.min_file_bytes), (2, file.len() as u64));
    assert_eq!(hub.ranges(), [Some(format!("bytes=0-{}", file.len() - 1))]);
}

#[tokio::test]
async fn a_large_header_is_read_in_growing_ranges_and_the_data_is_not() {
    let file = large();
    let hub = Hub::with("a.gguf", file.clone()).await;
    let sources = hub.sources();
    let model = sources.header(&resolved(&hub, file.len()), None).await.unwrap();
    assert_eq!(model.dims.layers, 2);
    let ranges = hub.ranges();
    assert_eq!(ranges[0].as_deref(), Some("bytes=0-1048575"));
    assert!(ranges.len() <= 4, "{ranges:?}");
    let last: usize = ranges.last().unwrap().as_ref().unwrap().rsplit('-').next().unwrap().parse().unwrap();
    assert!(last < 7 << 20, "{ranges:?}");
}

#[tokio::test]
async fn a_server_without_ranges_will_do() {
    let file = large();
    let hub = Hub::with("a.gguf", file.clone()).await;
    hub.answer(vec![Answer::IgnoreRange; 10]);
    assert!(hub.sources().header(&resolved(&hub, file.len()), None).await.is_ok());
}

#[tokio::test]
async fn what_is_wrong_is_named_and_known_to_be_permanent_or_not() {
    let file = tiny_llama(1);
    let hub = Hub::with("a.gguf", file.clone()).await;
    let resolved = resolved(&hub, file.len());
    let sources = hub.sources();

    hub.answer([Answer::CutAfter(100)]);
    let error = sources.header(&resolved, None).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), ("SourceCut", false), "{error}");

    let mut wrong = file.clone();
    wrong[0] = b'X';
    hub.answer([Answer::Wrong(wrong.into())]);
    let error = sources.header(&resolved, None).await.unwrap_err();
    assert_eq!((error.reason(), error.is_permanent()), ("FileInvalid", true));
    assert!(error.to_string().contains("a GGUF file starts with"), "{error}");

    let mamba = TinyLlama::new(1).builder().replace("general.architecture", Value::String("mamba".into()));
    let mamba = mamba.build();
    let mamba_resolved = Resolved { size_bytes: mamba.len() as u64, ..resolved.clone() };
    hub.answer([Answer::Wrong(mamba.into())]);
    let error = sources.header(&mamba_resolved, None).await.unwrap_err();
    assert!(matches!(&error, HeaderFetchError::Model(_)), "{error}");
    assert!(error.to_string().contains("supported: llama"), "{error}");

    // The file is said to be smaller than its tensors need.
    let short = Resolved { size_bytes: resolved.size_bytes - 64, ..resolved };
    let error = sources.header(&short, None).await.unwrap_err();
    assert!(error.to_string().contains("past the end of the file"), "{error}");
}

#[tokio::test]
async fn a_file_on_a_claim() {
    let claims = tempfile::tempdir().unwrap();
    std::fs::create_dir(claims.path().join("models")).unwrap();
    let file = tiny_llama(1);
    std::fs::write(claims.path().join("models/a.gguf"), &file).unwrap();
    let sources = Sources::new(Policy { claims: claims.path().to_owned(), ..Policy::default() }).unwrap();
    let location = Location::Claim { claim: "models".into(), path: "a.gguf".into() };
    let resolved =
        Resolved { location, revision: String::new(), sha256: None, size_bytes: file.len() as u64 };
    assert_eq!(sources.header(&resolved, None).await.unwrap().dims.layers, 2);
}
