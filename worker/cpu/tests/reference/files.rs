//! Models of every type of weights, and both programs of them.

use std::io::Write;
use std::path::Path;

use hearth_cpu::{Cpu, CpuConfig, CpuProgram, KvStorage};
use hearth_kernels::isa::Isa;
use hearth_model::dequant::dequantize;
use hearth_model::testing::{GgufBuilder, TinyLlama};
use hearth_model::{DType, KvType, Model, Shape, Value, gguf};
use hearth_program::{Answers, PageId, Program, Row, Stage, Unwatched, build};
use hearth_reference::{Compute, ReferenceProgram};
use tempfile::NamedTempFile;

pub(crate) const SHAPE: Shape = Shape { context_tokens: 512, sequences: 4, kv_type: KvType::F16 };

/// Sizes whose rows are whole blocks of every type.
pub(crate) const SIZES: TinyLlama = TinyLlama {
    seed: 5,
    layers: 2,
    heads: 8,
    kv_heads: 2,
    head_dim: 32,
    ffn: 512,
    context_length: 512,
    tied: false,
};

/// A file of a tiny llama, of which all matrices but the embedding have a type.
pub(crate) fn model(sizes: &TinyLlama, dtype: DType) -> NamedTempFile {
    let plain = sizes.builder().build();
    let gguf::Progress::Done(header) = gguf::parse(&plain, Some(plain.len() as u64)).unwrap() else {
        panic!("the whole file was there");
    };
    let mut builder: GgufBuilder = sizes.builder();
    for tensor in &header.tensors {
        let matrix = tensor.shape.len() == 2 && tensor.name != "token_embd.weight";
        if matrix && dtype != DType::F32 {
            let elements = tensor.elements();
            let bytes = dtype.bytes_for(elements).unwrap() as usize;
            let data = random(dtype, bytes, tensor.shape[1] as f32, 0);
            builder = builder.without_tensor(&tensor.name).tensor(&tensor.name, dtype, &tensor.shape, data);
        }
    }
    written(&builder)
}

fn written(builder: &GgufBuilder) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&builder.build()).unwrap();
    file
}

/// Experts of a layer of [`mixture`], and how many a token takes.
const EXPERTS: [u64; 2] = [6, 3];

/// As [`model`], all of whose linear layers are plain but for experts of a type. Their
/// router is of `router`.
pub(crate) fn mixture(sizes: &TinyLlama, dtype: DType, router: DType) -> NamedTempFile {
    let [experts, used] = EXPERTS;
    let (ffn, width) = (u64::from(sizes.ffn), u64::from(sizes.heads * sizes.head_dim));
    let mut builder = sizes
        .builder()
        .meta("llama.expert_count", Value::U32(experts as u32))
        .meta("llama.expert_used_count", Value::U32(used as u32));
    for layer in 0..sizes.layers {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        for part in ["ffn_gate", "ffn_up", "ffn_down"] {
            builder = builder.without_tensor(&name(part));
        }
        for (part, dtype, shape) in [
            ("ffn_gate_inp", router, &[experts, width][..]),
            ("ffn_gate_exps", dtype, &[experts, ffn, width]),
            ("ffn_up_exps", dtype, &[experts, ffn, width]),
            ("ffn_down_exps", dtype, &[experts, width, ffn]),
        ] {
            let bytes = dtype.bytes_for(shape.iter().product()).unwrap() as usize;
            // Routers that know their mind: a score that is a little off chooses no other.
            let scale = if part == "ffn_gate_inp" { 8.0 } else { 1.0 };
            let inputs = *shape.last().unwrap() as f32 / (scale * scale);
            let data = random(dtype, bytes, inputs, u64::from(layer) + part.len() as u64);
            builder = builder.tensor(&name(part), dtype, shape, data);
        }
    }
    written(&builder)
}

/// Blocks of random codes, with scales that make rows of variance about one.
fn random(dtype: DType, bytes: usize, inputs: f32, seed: u64) -> Vec<u8> {
    let mut state = bytes as u64 ^ 0x9e37_79b9 ^ seed << 40;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    let block = dtype.block_bytes() as usize;
    let mut data = (0..bytes).map(|_| next()).collect::<Vec<_>>();
    let mut numbers = vec![0.0; dtype.block_len() as usize];
    for block in data.chunks_exact_mut(block) {
        // Half-precision scales are found by trying: of two bytes, which, scaled down,
        // scale the block down.
        fit(dtype, block, &mut numbers, 1.0 / inputs.sqrt());
    }
    data
}

/// Where the half-precision factors of a block are.
fn factors(dtype: DType) -> &'static [usize] {
    match dtype {
        DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL | DType::IQ4_XS => &[0],
        DType::Q4_1 | DType::Q5_1 | DType::Q4_K | DType::Q5_K => &[0, 2],
        DType::Q2_K => &[80, 82],
        DType::Q3_K => &[108],
        DType::Q6_K => &[208],
        _ => &[],
    }
}

/// Sets a block's factors so that its numbers are about as large as `size`.
fn fit(dtype: DType, block: &mut [u8], numbers: &mut [f32], size: f32) {
    const ONE: u16 = 0x3c00;
    match dtype {
        DType::F32 => {
            let number = size * (f32::from(block[0]) / 128.0 - 1.0);
            block.copy_from_slice(&number.to_le_bytes());
        }
        DType::F16 => {
            block.copy_from_slice(&narrow(size * (f32::from(block[0]) / 128.0 - 1.0)).to_le_bytes());
        }
        DType::BF16 => {
            let number = size * (f32::from(block[0]) / 128.0 - 1.0);
            block.copy_from_slice(&((number.to_bits() >> 16) as u16).to_le_bytes());
        }
        _ => {
            for (nth, at) in factors(dtype).iter().enumerate() {
                // The smaller addend keeps numbers of both signs.
                let factor = if nth == 0 { ONE } else { 0xb800 };
                block[*at..at + 2].copy_from_slice(&factor.to_le_bytes());
            }
            dequantize(dtype, block, numbers).unwrap();
            let square = numbers.iter().map(|x| x * x).sum::<f32>() / numbers.len() as f32;
            let scale = size / square.sqrt().max(1e-3);
            for (nth, at) in factors(dtype).iter().enumerate() {
                let factor = if nth == 0 { scale } else { -scale / 2.0 };
                block[*at..at + 2].copy_from_slice(&narrow(factor).to_le_bytes());
            }
        }
    }
}

/// The bits of a number in half precision, cut off.
fn narrow(x: f32) -> u16 {
    let bits = x.to_bits();
    let (sign, exponent) = ((bits >> 16 & 0x8000) as u16, (bits >> 23 & 255) as i32 - 112);
    if exponent <= 0 { sign } else { sign | (exponent as u16) << 10 | (bits >> 13 & 0x3ff) as u16 }
}

pub(crate) fn reference(path: &Path) -> ReferenceProgram {
    let storage = hearth_reference::KvStorage::Exact;
    ReferenceProgram::open(path, &SHAPE, storage, Compute::Cpu).unwrap()
}

pub(crate) fn program(path: &Path, threads: usize, isa: Option<Isa>, storage: KvStorage) -> CpuProgram {
    let mut cpu = Cpu::open(CpuConfig { threads: std::num::NonZeroUsize::new(threads) }).unwrap();
    if let Some(isa) = isa {
        cpu = cpu.with_isa(isa);
    }
    let model: Model = build::read(path).unwrap();
    cpu.build_with(path, &model, &SHAPE, storage, &mut Unwatched).unwrap()
}

/// The pages of sequence `nth`, not in their order.
pub(crate) fn tables(nth: usize) -> [Vec<PageId>; 1] {
    let pages = SHAPE.context_tokens / 32;
    [(0..pages).map(|page| PageId(nth as u32 * pages + (page * 7 + 3) % pages)).collect()]
}

pub(crate) fn tokens(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(97)) >> 8 & 255).collect()
}

/// The answers to all tokens of one row.
pub(crate) fn decode(
    program: &mut dyn Program,
    tables: &[Vec<PageId>],
    start: usize,
    tokens: &[u32],
) -> Vec<Vec<f32>> {
    let mut answers = Answers::default();
    let row = Row { tables, start, tokens, stage: Stage::Decode };
    program.step(&[row], &mut answers).unwrap();
    (0..tokens.len()).map(|nth| answers.get(0, nth).unwrap().to_vec()).collect()
}
