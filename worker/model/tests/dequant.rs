//! Dequantization against an independent implementation: `golden/generate.py`
//! says how the files were made.

use std::path::Path;

use hearth_model::{DType, dequant};

const ELEMENTS: usize = 512;

#[test]
fn equals_the_independent_implementation_to_the_bit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut seen = 0;
    for dtype in DType::READABLE {
        let Ok(golden) = std::fs::read(folder.join(format!("{dtype}.bin"))) else {
            // Plain types are tested by hand beside the code.
            assert!(matches!(dtype, DType::F32 | DType::F16), "no golden for {dtype}");
            continue;
        };
        let bytes = dtype.bytes_for(ELEMENTS as u64).unwrap() as usize;
        let (blocks, expected) = golden.split_at(bytes);
        let expected: Vec<f32> = expected.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let mut out = vec![0.0; ELEMENTS];
        dequant::dequantize(*dtype, blocks, &mut out).unwrap();
        for (i, (found, expected)) in out.iter().zip(&expected).enumerate() {
            assert_eq!(found.to_bits(), expected.to_bits(), "{dtype} element {i}: {found} for {expected}");
        }
        seen += 1;
    }
    assert_eq!(seen, 13);
}
