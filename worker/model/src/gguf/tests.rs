use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::testing::{GgufBuilder, tiny_llama};
use crate::{Array, Value};

fn whole(bytes: &[u8]) -> Result<Header, HeaderError> {
    match parse(bytes, Some(bytes.len() as u64))? {
        Progress::Done(header) => Ok(*header),
        Progress::Need(n) => panic!("wants {n} of {} bytes", bytes.len()),
    }
}

fn refused(bytes: &[u8]) -> String {
    whole(bytes).expect_err("must be refused").to_string()
}

fn two_tensors() -> GgufBuilder {
    GgufBuilder::new().f32_tensor("a", &[2, 4], &[0.5; 8]).tensor("b", DType::Q8_0, &[1, 32], vec![1; 34])
}

#[test]
fn reads_versions_two_and_three() {
    for version in [2, 3] {
        let bytes = two_tensors().version(version).meta("k", Value::U8(9)).build();
        let header = whole(&bytes).unwrap();
        assert_eq!((header.format, header.version), (Format::Gguf, version));
        assert_eq!(header.metadata.require_u32("k"), Ok(9));
        let a = header.tensor("a").unwrap();
        assert_eq!((a.shape.as_slice(), a.bytes, a.offset), (&[2, 4][..], 32, header.data_offset));
        let b = header.tensor("b").unwrap();
        assert_eq!((b.dtype, b.bytes, b.offset), (DType::Q8_0, 34, header.data_offset + 32));
        assert_eq!(header.min_file_bytes, bytes.len() as u64);
    }
}

#[test]
fn a_file_is_read_up_to_its_data() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&tiny_llama(1)).unwrap();
    let header = read_file(file.path()).unwrap();
    assert_eq!(header.tensors.len(), 2 + 2 * 9);
    file.as_file().set_len(header.min_file_bytes - 1).unwrap();
    let error = read_file(file.path()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("past the end of the file"), "{source}");
    assert!(matches!(read_file("/nonexistent".as_ref()), Err(ReadError::Io { .. })));
}

#[test]
fn a_file_without_tensors_needs_no_padding() {
    let header = whole(&GgufBuilder::new().build()[..24]).unwrap();
    assert_eq!((header.min_file_bytes, header.data_offset), (24, 32));
}

#[test]
fn growing_prefixes_end_in_the_same_header() {
    let bytes = tiny_llama(1);
    let expected = whole(&bytes).unwrap();
    let mut have = 0usize;
    for attempt in 0.. {
        assert!(attempt < 20, "asks too often");
        match parse(&bytes[..have], None).unwrap() {
            Progress::Done(header) => {
                assert_eq!(*header, expected);
                break;
            }
            Progress::Need(n) => {
                assert!(n as usize > have);
                have = (n as usize).min(bytes.len());
            }
        }
    }
}

#[test]
fn a_cut_file_says_where_and_what() {
    let bytes = two_tensors().build();
    for len in 0..bytes.len() {
        let message = refused(&bytes[..len]);
        assert!(message.contains("cut short") || message.contains("past the end"), "{len}: {message}");
    }
    let message = refused(&bytes[..10]);
    assert_eq!(
        message,
        "GGUF header, byte 8: the file ends after 10 bytes; the number of tensors needs 16: the file is cut short"
    );
}

#[test]
fn wrong_magic_version_and_endianness() {
    let mut bytes = two_tensors().build();
    assert!(
        refused(&two_tensors().version(1).build()).contains("version 1 is not supported; allowed: 2 and 3")
    );
    assert!(refused(&two_tensors().version(3u32.swap_bytes()).build()).contains("big-endian"));
    bytes[0] = b'X';
    assert!(refused(&bytes).starts_with("GGUF header, byte 0: the file starts with [58, 47, 55, 46]"));
}

#[test]
fn absurd_counts() {
    let patched = |at: usize, value: u64| {
        let mut bytes = two_tensors().meta("k", Value::String("v".into())).build();
        bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    assert!(refused(&patched(8, u64::MAX)).contains("byte 8: the number of tensors is 18446744073709551615"));
    assert!(refused(&patched(16, 1 << 40)).contains("byte 16: the number of metadata keys is"));
    assert!(refused(&patched(24, u64::MAX)).contains("byte 24: a metadata key is"));
    // 24 + key length and key + type.
    assert!(refused(&patched(24 + 9 + 4, u64::MAX)).contains("allowed: up to 16777216"));
    // Allowed lengths that the file has no bytes for ask for them, or end the file.
    assert!(refused(&patched(24 + 9 + 4, 1 << 20)).contains("cut short"));
    assert!(matches!(parse(&patched(24 + 9 + 4, 1 << 20), None), Ok(Progress::Need(n)) if n > 1 << 20));
}

#[test]
fn arrays_are_capped_in_length_and_depth() {
    let mut nested = Array::U8(vec![1, 2, 3]);
    for _ in 0..2 {
        nested = Array::Array(vec![nested]);
    }
    let ok = GgufBuilder::new().meta("k", Value::Array(nested.clone()));
    assert_eq!(whole(&ok.build()).unwrap().metadata.get("k"), Some(&Value::Array(nested.clone())));
    let deep = GgufBuilder::new().meta("k", Value::Array(Array::Array(vec![nested])));
    assert!(refused(&deep.build()).contains("the nesting of arrays is 4; allowed: up to 3"));

    let mut bytes = GgufBuilder::new().meta("k", Value::Array(Array::F64(vec![0.0]))).build();
    let length_at = 24 + 9 + 4 + 4;
    bytes[length_at..length_at + 8].copy_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(refused(&bytes).contains("the length of a metadata array is"));
}

#[test]
fn bad_values() {
    let with_type = |id: u32| {
        let mut bytes = GgufBuilder::new().meta("k", Value::U32(7)).build();
        bytes[33..37].copy_from_slice(&id.to_le_bytes());
        refused(&bytes)
    };
    assert!(with_type(13).contains("byte 33: metadata value type 13 is unknown; allowed: 0 to 12"));
    assert!(with_type(7).contains("byte 37: a bool is 7; allowed: 0 or 1"));
    let mut bytes = GgufBuilder::new().meta("key", Value::U32(7)).build();
    bytes[33] = 0xff;
    assert_eq!(refused(&bytes), "GGUF header, byte 33: a metadata key is not UTF-8");
    let twice = GgufBuilder::new().meta("k", Value::U8(1)).meta("k", Value::U8(1));
    assert!(refused(&twice.build()).contains("metadata key \"k\" appears twice"));
}

#[test]
fn bad_tensors() {
    let cases: Vec<(GgufBuilder, &str)> = vec![
        (two_tensors().f32_tensor("a", &[1], &[0.0]), "tensor \"a\" appears twice"),
        (
            two_tensors().raw_tensor("c", 4, &[32], None, vec![0; 34]),
            "has type 4, which is unknown; known: F32",
        ),
        (two_tensors().tensor("c", DType::Q8_0, &[31], vec![0; 34]), "not whole blocks"),
        (two_tensors().tensor("c", DType::F32, &[0], vec![]), "a dimension is 0"),
        (two_tensors().tensor("c", DType::F32, &[1 << 40, 1 << 40], vec![]), "do not fit 63 bits"),
        (two_tensors().tensor("c", DType::F32, &[1; 5], vec![0; 4]), "has 5 dimensions; allowed: 1 to 4"),
        (two_tensors().tensor("c", DType::F32, &[], vec![0; 4]), "has 0 dimensions; allowed: 1 to 4"),
        (two_tensors().raw_tensor("c", 0, &[1], Some(8), vec![0; 4]), "must be a multiple of 32"),
        (two_tensors().raw_tensor("c", 0, &[1], Some(32), vec![0; 4]), "tensors \"b\" and \"c\" overlap"),
        (two_tensors().raw_tensor("c", 0, &[1], Some(1 << 62), vec![0; 4]), "past the end of the file"),
        (two_tensors().raw_tensor("c", 0, &[1], Some(u64::MAX - 31), vec![0; 4]), "past the end"),
        (two_tensors().alignment(4), "alignment is 4"),
        (two_tensors().alignment(48), "alignment is 48"),
        (two_tensors().meta("general.alignment", Value::String("x".into())), "alignment is 0"),
    ];
    for (builder, expected) in cases {
        let message = refused(&builder.build());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn no_size_that_is_told_makes_offsets_overflow() {
    for at in [u64::MAX - 31, (1 << 63) - 32, 1 << 63] {
        let bytes = two_tensors().raw_tensor("c", 0, &[1], Some(at), vec![]).build();
        for size in [None, Some(1 << 63), Some(u64::MAX)] {
            let message = parse(&bytes, size).unwrap_err().to_string();
            assert!(message.contains("past the end of the file at byte 9223372036854775807"), "{message}");
        }
    }
}

#[test]
fn other_alignments() {
    for alignment in [8, 64, 4096] {
        let bytes = two_tensors().alignment(alignment).build();
        let header = whole(&bytes).unwrap();
        assert!(header.tensors.iter().all(|t| t.offset.is_multiple_of(alignment.into())));
    }
}

/// Any metadata value, a few levels deep.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        (-1e9f32..1e9).prop_map(Value::F32),
        ".{0,40}".prop_map(Value::String),
        proptest::collection::vec(".{0,8}", 0..9).prop_map(|v| Value::Array(Array::String(v))),
        proptest::collection::vec(any::<u16>(), 0..9).prop_map(|v| Value::Array(Array::U16(v))),
        proptest::collection::vec(any::<bool>(), 0..9)
            .prop_map(|v| Value::Array(Array::Array(vec![Array::Bool(v)]))),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        metadata in proptest::collection::btree_map("[a-z.]{1,20}", any_value(), 0..8),
        rows in proptest::collection::vec(1u64..5, 0..6),
    ) {
        prop_assume!(!metadata.contains_key("general.alignment"));
        let mut builder = GgufBuilder::new();
        for (key, value) in &metadata {
            builder = builder.meta(key, value.clone());
        }
        for (i, rows) in rows.iter().enumerate() {
            builder = builder.tensor(&format!("t{i}"), DType::Q4_1, &[*rows, 64], vec![7; *rows as usize * 40]);
        }
        let bytes = builder.build();
        let header = whole(&bytes).unwrap();
        let read: Vec<_> = header.metadata.iter().map(|(k, v)| (k.to_owned(), v.clone())).collect();
        prop_assert_eq!(read, metadata.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(header.tensors.len(), rows.len());
        for (tensor, rows) in header.tensors.iter().zip(&rows) {
            prop_assert_eq!(&tensor.shape, &vec![*rows, 64]);
            let at = tensor.offset as usize;
            prop_assert!(bytes[at..at + tensor.bytes as usize].iter().all(|b| *b == 7));
        }
    }

    #[test]
    fn any_bytes_give_an_answer(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), magic: bool) {
        if magic {
            let start = b"GGUF\x03\0\0\0\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0";
            bytes.splice(0..0, start.iter().copied());
        }
        let _ = parse(&bytes, None);
        let _ = parse(&bytes, Some(bytes.len() as u64));
    }

    #[test]
    fn mutated_files_give_an_answer(edits in proptest::collection::vec((0usize..3000, any::<u8>()), 1..6)) {
        let mut bytes = tiny_llama(3);
        for (at, to) in edits {
            bytes[at] = to;
        }
        if let Ok(Progress::Done(header)) = parse(&bytes, Some(bytes.len() as u64)) {
            prop_assert!(header.min_file_bytes <= bytes.len() as u64);
            let _ = crate::Model::from_gguf(&header);
        }
    }
}
