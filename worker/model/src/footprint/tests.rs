use proptest::prelude::*;

use super::*;
use crate::testing::SMOLLM2;

/// SmolLM2-135M.
const SMOL: Dims = Dims { weights_packed_bytes: 95_000_000, ..SMOLLM2 };
const CPU: Overhead = Overheads::DEFAULT.cpu;

fn shape(context_tokens: u32, sequences: u32, kv_type: KvType) -> Shape {
    Shape { context_tokens, sequences, kv_type }
}

#[test]
fn kv_a_token_is_as_published() {
    assert_eq!(kv_bytes_per_token(&SMOL, KvType::F16), Ok(30 * 3 * 128 * 2));
    assert_eq!(kv_bytes_per_token(&SMOL, KvType::Q8_0), Ok(30 * 3 * 4 * 34));
    let llama_8b = Dims { layers: 32, heads: 32, kv_heads: 8, head_dim_k: 128, head_dim_v: 128, ..SMOL };
    assert_eq!(kv_bytes_per_token(&llama_8b, KvType::F16), Ok(128 << 10));
}

#[test]
fn parts_add_up() {
    let f = footprint(&SMOL, &shape(2048, 4, KvType::F16), WeightStorage::F32, &CPU).unwrap();
    assert_eq!(f.weights, SMOL.weights_f32_bytes);
    assert_eq!(f.kv, 23040 * 2048 * 4);
    assert_eq!(f.overhead, (8 << 20) + 512 * 49152);
    assert_eq!(f.total(), f.weights + f.kv + f.activations + f.overhead);
    let a = Activations::of(&SMOL, &shape(2048, 4, KvType::F16)).unwrap();
    assert_eq!(a.scores, 2 * 9 * 128 * 2048 * 4);
    assert_eq!(a.logits, 4 * 49152 * 4);
    for (sequences, side_by_side) in [(1, 1), (3, 3), (4, 4), (9, 4)] {
        let a = Activations::of(&SMOL, &shape(2048, sequences, KvType::F16)).unwrap();
        assert_eq!(a.kv_rows, side_by_side * 2048 * 3 * 128 * 4);
    }
}

#[test]
fn a_window_caps_the_cache_of_its_layers() {
    // Window and chunk touch 512 - 1 + 128 tokens: 20 pages, and one more where they
    // begin within a page.
    assert_eq!(kept_tokens(Some(512), 4096), 21 * 32);
    assert_eq!(kept_tokens(Some(512), 500), 512);
    assert_eq!(kept_tokens(None, 500), 512);
    assert_eq!(kept_tokens(Some(u32::MAX), u32::MAX), 1 << 32);
    let mixed = Dims { windowed_layers: 25, window: 512, ..SMOL };
    let kv = |dims: &Dims, context| {
        footprint(dims, &shape(context, 2, KvType::F16), WeightStorage::F32, &CPU).unwrap().kv
    };
    let layer = 3 * 128 * 2;
    assert_eq!(kv(&mixed, 4096), 2 * layer * (5 * 4096 + 25 * 672));
    assert_eq!(kv(&mixed, 512), kv(&SMOL, 512));
    assert_eq!(kv(&Dims { sees_ahead: true, ..SMOL }, 512), 0);
}

#[test]
fn experts_and_texts_take_scratch_of_their_own() {
    let of = |dims: &Dims, context| PackedActivations::of(dims, &shape(context, 2, KvType::F16)).unwrap();
    let dense = of(&SMOL, 512);
    assert_eq!((dense.experts, dense.texts), (0, 0));
    // 192 rows take 2 of 8 experts of 768 each, whose rows are filled up to fours.
    let taken = 192 * 2 + 8 * 3;
    let experts = of(&Dims { experts: 8, experts_used: 2, ..SMOL }, 512).experts;
    assert_eq!(experts, taken * (576 + 2 * 768) * 4 + taken * 768 * 2 + 192 * (576 + 8) * 4);
    let encoder = Dims { sees_ahead: true, ..SMOL };
    assert_eq!(of(&encoder, 512).texts, (16 + 2) * 32 * 3 * 128 * 4);
    assert_eq!(of(&encoder, 100).registers, dense.registers);
    assert_eq!(of(&encoder, 384).registers, 2 * dense.registers);
}

#[test]
fn absurd_numbers_are_an_error() {
    let dims = Dims { layers: u32::MAX, kv_heads: u32::MAX, ..SMOL };
    let error = footprint(&dims, &shape(u32::MAX, 9, KvType::F16), WeightStorage::F32, &CPU).unwrap_err();
    assert_eq!(error.part, "KV cache");
}

#[test]
fn max_context_is_the_edge() {
    let s = shape(0, 4, KvType::F16);
    let at = |context_tokens| {
        footprint(&SMOL, &Shape { context_tokens, ..s }, WeightStorage::F32, &CPU).unwrap().total()
    };
    let longest = |bytes, range| max_context(&SMOL, &s, range, WeightStorage::F32, &CPU, bytes);
    assert_eq!(longest(at(4096), 512..=8192), Some(4096));
    assert_eq!(longest(at(4096) - 1, 512..=8192), Some(4096 - 256));
    assert_eq!(longest(u64::MAX, 512..=8000), Some(8000));
    assert_eq!(longest(at(500), 500..=8192), Some(500));
    assert_eq!(longest(at(500) - 1, 500..=8192), None);
    assert_eq!(longest(0, 1..=1), None);
}

proptest! {
    #[test]
    fn grows_with_context_and_sequences(context in 1u32..100_000, more in 0u32..10_000, seqs in 1u32..16) {
        for kv_type in [KvType::F16, KvType::Q8_0] {
            let total = |c, s| footprint(&SMOL, &shape(c, s, kv_type), WeightStorage::F32, &CPU).unwrap().total();
            prop_assert!(total(context + more, seqs) >= total(context, seqs));
            prop_assert!(total(context, seqs + 1) > total(context, seqs));
        }
    }

    #[test]
    fn what_max_context_gives_fits_and_more_does_not(bytes in 500_000_000u64..4_000_000_000, min in 1u32..4000) {
        let s = shape(0, 2, KvType::F16);
        let at = |context_tokens| {
            footprint(&SMOL, &Shape { context_tokens, ..s }, WeightStorage::F32, &CPU).unwrap().total()
        };
        match max_context(&SMOL, &s, min..=8192, WeightStorage::F32, &CPU, bytes) {
            None => prop_assert!(at(min) > bytes),
            Some(c) => {
                prop_assert!(c >= min && at(c) <= bytes);
                let next = (c / CONTEXT_STEP + 1) * CONTEXT_STEP;
                prop_assert!(c == 8192 || at(next) > bytes);
            }
        }
    }
}
