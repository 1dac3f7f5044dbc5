//! Linear layers in plain Rust: the definition.

use std::ops::Range;

use half::{bf16, f16};
use hearth_model::DType;

use super::activations::Block;
use super::{Activations, Columns, Matrix, QuantizedRows};
use crate::pack::TILE;
use crate::pack::form::{BLOCK, Codes, Form, Scales, with_form};

pub(super) fn multiply(
    matrix: &Matrix<'_>,
    activations: Activations<'_>,
    tiles: Range<usize>,
    out: &mut Columns<'_>,
) {
    for row in 0..out.rows() {
        for tile in tiles.clone() {
            let sums = match activations {
                Activations::Quantized(x) => {
                    with_form!(matrix.layout.dtype(), F => quantized::<F>(matrix.tile(tile), x, row), else unreachable!("a quantized type has a form"))
                }
                Activations::Plain(x) => {
                    let inputs = matrix.layout.inputs();
                    plain(matrix.layout.dtype(), matrix.tile(tile), &x[row * inputs..][..inputs])
                }
            };
            let at = (tile - tiles.start) * TILE;
            let outputs = TILE.min(out.width() - at);
            out.part(row, at, outputs).copy_from_slice(&sums[..outputs]);
        }
    }
}

/// A group's head, and its blocks' codes, of a tile of `blocks` blocks.
pub(super) fn groups<F: Form>(tile: &[u8], blocks: usize) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = tile;
    (0..blocks).step_by(F::Scales::GROUP).map(move |first| {
        let n = F::Scales::GROUP.min(blocks - first);
        let (head, after) = rest.split_at(F::head_bytes(n));
        let (codes, after) = after.split_at(n * F::Codes::BYTES);
        rest = after;
        (head, codes)
    })
}

fn quantized<F: Form>(tile: &[u8], x: QuantizedRows<'_>, row: usize) -> [f32; TILE] {
    let mut sums = [0.0; TILE];
    for (g, (head, codes)) in groups::<F>(tile, x.per_row()).enumerate() {
        for (b, codes) in codes.chunks_exact(F::Codes::BYTES).enumerate() {
            let x = x.block(row, g * F::Scales::GROUP + b);
            for (output, sum) in sums.iter_mut().enumerate() {
                if F::Scales::HALVES {
                    for half in 0..2 {
                        let n = dot::<F::Codes>(codes, x, output, half * 4..half * 4 + 4);
                        *sum =
                            step::<F::Scales>(head, b, half, output, (x.scale, x.half_sums[half]), n, *sum);
                    }
                } else {
                    let n = dot::<F::Codes>(codes, x, output, 0..8);
                    *sum = step::<F::Scales>(head, b, 0, output, (x.scale, x.sum), n, *sum);
                }
            }
        }
    }
    sums
}

/// The exact sum of products of codes over some quads of a block.
fn dot<C: Codes>(codes: &[u8], x: &Block, output: usize, quads: Range<usize>) -> i32 {
    let zero = C::ZERO.map_or(0, |shift| 1 << shift);
    let product = |quad: usize, i: usize| {
        (i32::from(C::get(codes, quad, output * 4 + i)) - zero) * i32::from(x.codes[quad][i])
    };
    quads.flat_map(|quad| (0..4).map(move |i| product(quad, i))).sum()
}

/// Adds a scaled sum of products to `acc`; `x` is the activations' scale and scaled sum.
fn step<S: Scales>(
    head: &[u8],
    block: usize,
    half: usize,
    output: usize,
    x: (f32, f32),
    n: i32,
    acc: f32,
) -> f32 {
    let acc = (n as f32).mul_add(S::scale(head, block, half, output) * x.0, acc);
    if S::ADDS { S::add(head, block, half, output).mul_add(x.1, acc) } else { acc }
}

fn plain(dtype: DType, tile: &[u8], x: &[f32]) -> [f32; TILE] {
    // Of even and of odd inputs.
    let mut sums = [[0.0; TILE]; 2];
    for (i, x) in x.iter().enumerate() {
        for (output, sum) in sums[i % 2].iter_mut().enumerate() {
            *sum = weight(dtype, tile, i, output).mul_add(*x, *sum);
        }
    }
    std::array::from_fn(|output| sums[0][output] + sums[1][output])
}

/// Weight `input` of `output` in a tile of a plain type.
pub(super) fn weight(dtype: DType, tile: &[u8], input: usize, output: usize) -> f32 {
    let at = input * TILE + output;
    match dtype {
        DType::F32 => f32::from_le_bytes(tile.as_chunks().0[at]),
        DType::F16 => f16::from_le_bytes(tile.as_chunks().0[at]).to_f32(),
        DType::BF16 => bf16::from_le_bytes(tile.as_chunks().0[at]).to_f32(),
        _ => unreachable!("{dtype} is not a plain type with a packed form"),
    }
}

/// The weights of one output of a quantized tile, in the order of its inputs.
pub(super) fn weights<F: Form>(tile: &[u8], output: usize, out: &mut [f32]) {
    let zero = F::Codes::ZERO.map_or(0, |shift| 1 << shift);
    let heads = groups::<F>(tile, out.len() / BLOCK);
    for ((head, codes), out) in heads.zip(out.chunks_mut(F::Scales::GROUP * BLOCK)) {
        let blocks = codes.chunks_exact(F::Codes::BYTES).zip(out.chunks_exact_mut(BLOCK));
        for (b, (codes, out)) in blocks.enumerate() {
            for (i, out) in out.iter_mut().enumerate() {
                let half = i / 16;
                let code = i32::from(F::Codes::get(codes, i / 4, output * 4 + i % 4)) - zero;
                *out = F::Scales::scale(head, b, half, output) * code as f32;
                if F::Scales::ADDS {
                    *out += F::Scales::add(head, b, half, output);
                }
            }
        }
    }
}
