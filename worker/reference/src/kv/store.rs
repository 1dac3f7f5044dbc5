//! How a page keeps its numbers.

use std::ops::Range;

use burn::tensor::{DType, Device, FloatDType, Int, IntDType, Tensor};
use hearth_model::KvType;

/// Elements that share a scale in [`KvType::Q8_0`].
const BLOCK: usize = 32;

/// How a cache keeps its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvStorage {
    /// As they were computed: what the other kinds are measured against.
    Exact,
    /// As a replica was asked to keep them.
    Kept(KvType),
}

/// Keys or values of some tokens, `[heads, tokens, dim]`.
#[expect(
    clippy::large_enum_variant,
    reason = "a page's tensors own kilobytes; the handles are nothing to them"
)]
pub(super) enum Page {
    Floats(Tensor<3>),
    Blocks(Blocks),
}

/// A head's vector is whole blocks, the last one padded with zeros.
pub(super) struct Blocks {
    /// `[heads, tokens, blocks · BLOCK]`, -127 to 127.
    codes: Tensor<3, Int>,
    /// `[heads, tokens, blocks]` in half precision.
    scales: Tensor<3>,
    dim: usize,
}

impl Page {
    pub(super) fn new(storage: KvStorage, [heads, tokens, dim]: [usize; 3], device: &Device) -> Self {
        let floats = |dtype: DType| Self::Floats(Tensor::zeros([heads, tokens, dim], (device, dtype)));
        match storage {
            KvStorage::Exact => floats(DType::F32),
            KvStorage::Kept(KvType::F16) => floats(DType::F16),
            KvStorage::Kept(KvType::Q8_0) => {
                let blocks = dim.div_ceil(BLOCK);
                let codes = Tensor::zeros([heads, tokens, blocks * BLOCK], (device, DType::I8));
                let scales = Tensor::zeros([heads, tokens, blocks], (device, DType::F16));
                Self::Blocks(Blocks { codes, scales, dim })
            }
        }
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> u64 {
        let size = |dims: [usize; 3], dtype: DType| (dims.iter().product::<usize>() * dtype.size()) as u64;
        match self {
            Self::Floats(numbers) => size(numbers.dims(), numbers.dtype()),
            Self::Blocks(blocks) => {
                let Blocks { codes, scales, dim: _ } = blocks;
                size(codes.dims(), codes.dtype()) + size(scales.dims(), scales.dtype())
            }
        }
    }

    /// Writes `[heads, rows, dim]` from head `first` and token `at` on.
    pub(super) fn write(&mut self, first: usize, at: usize, new: Tensor<3>) {
        let [heads, rows, dim] = new.dims();
        let (heads, tokens) = (first..first + heads, at..at + rows);
        // Only the page holds its tensors, so they are written in place.
        match self {
            Self::Floats(numbers) => {
                let new = if numbers.dtype() == DType::F16 { new.cast(FloatDType::F16) } else { new };
                numbers.inplace(|page| page.slice_assign([heads, tokens, 0..dim], new));
            }
            Self::Blocks(blocks) => {
                let Blocks { codes, scales, dim: _ } = blocks;
                let (new_codes, new_scales) = quantize(new);
                let (width, blocks) = (new_codes.dims()[2], new_scales.dims()[2]);
                let at = [heads.clone(), tokens.clone(), 0..width];
                codes.inplace(|page| page.slice_assign(at, new_codes));
                scales.inplace(|page| page.slice_assign([heads, tokens, 0..blocks], new_scales));
            }
        }
    }

    /// The first `tokens` tokens of some heads in `f32`.
    pub(super) fn read(&self, heads: Range<usize>, tokens: usize) -> Tensor<3> {
        match self {
            Self::Floats(numbers) => {
                let dim = numbers.dims()[2];
                numbers.clone().slice([heads, 0..tokens, 0..dim]).cast(FloatDType::F32)
            }
            Self::Blocks(blocks) => {
                let Blocks { codes, scales, dim } = blocks;
                let width = codes.dims()[2];
                let blocks = width / BLOCK;
                let codes = codes.clone().slice([heads.clone(), 0..tokens, 0..width]).cast(FloatDType::F32);
                let scales = scales.clone().slice([heads.clone(), 0..tokens, 0..blocks]);
                let scales = scales.cast(FloatDType::F32);
                let heads = heads.len();
                let numbers = codes.reshape([heads, tokens, blocks, BLOCK])
                    * scales.reshape([heads, tokens, blocks, 1]);
                numbers.reshape([heads, tokens, width]).slice([0..heads, 0..tokens, 0..*dim])
            }
        }
    }
}

/// Codes and scales of `[heads, rows, dim]`: the largest of a block becomes 127.
fn quantize(numbers: Tensor<3>) -> (Tensor<3, Int>, Tensor<3>) {
    let [heads, rows, dim] = numbers.dims();
    let blocks = dim.div_ceil(BLOCK);
    let padding = blocks * BLOCK - dim;
    let numbers = if padding == 0 {
        numbers
    } else {
        let zeros = Tensor::zeros([heads, rows, padding], (&numbers.device(), numbers.dtype()));
        Tensor::cat(vec![numbers, zeros], 2)
    };
    let numbers = numbers.reshape([heads, rows, blocks, BLOCK]);
    let scales = (numbers.clone().abs().max_dim(3) / 127.0).cast(FloatDType::F16);
    // Codes are made for the scale as it is kept. A block of zeros has scale 0;
    // the floor keeps its codes 0, and is below any other scale.
    let kept = scales.clone().cast(FloatDType::F32).clamp_min(1e-30);
    let codes = (numbers / kept).round().clamp(-127.0, 127.0).cast(IntDType::I8);
    (codes.reshape([heads, rows, blocks * BLOCK]), scales.reshape([heads, rows, blocks]))
}
