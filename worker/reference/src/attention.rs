//! Attention over all keys of a sequence.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

use hearth_program::arch::Attention;

use crate::functions::{first_rows, pad, soft_cap};

/// `softmax(cap(query · keysᵀ · scale)) · values` for `rows` tokens, of which the last
/// is the last of the keys. Each sees itself and those before it, with a window only so
/// many. Queries are `[rows, heads · key_dim]`, keys and values `[kv_heads, tokens, dim]`,
/// the result `[rows, heads · value_dim]`. Rows and keys are made at least `least` by
/// ones that count for nothing.
pub(crate) fn attend(
    attention: &Attention,
    window: Option<usize>,
    query: Tensor<2>,
    keys: Tensor<3>,
    values: Tensor<3>,
    least: usize,
) -> Tensor<2> {
    let ([rows, _], [_, tokens, _]) = (query.dims(), keys.dims());
    let mask = mask(window, rows, tokens, least, &query.device());
    let (keys, values) = (pad(keys, 1, least), pad(values, 1, least));
    first_rows(weigh(attention, pad(query, 0, least), keys, values, Some(mask)), rows)
}

/// As [`attend`], but every token sees every other.
pub(crate) fn attend_rows(
    attention: &Attention,
    query: Tensor<2>,
    keys: Tensor<3>,
    values: Tensor<3>,
) -> Tensor<2> {
    weigh(attention, query, keys, values, None)
}

fn weigh(
    attention: &Attention,
    query: Tensor<2>,
    keys: Tensor<3>,
    values: Tensor<3>,
    mask: Option<Tensor<2>>,
) -> Tensor<2> {
    let Attention { heads, kv_heads, key_dim, value_dim, scale, soft_cap: cap, sight: _ } = *attention;
    let ([rows, _], [_, tokens, _]) = (query.dims(), keys.dims());
    let group = heads / kv_heads;
    // The query heads that share a key head become rows of one product.
    let query = query
        .mul_scalar(scale)
        .reshape([rows, kv_heads, group, key_dim])
        .permute([1, 2, 0, 3])
        .reshape([kv_heads, group * rows, key_dim]);
    let mut scores = query.matmul(keys.swap_dims(1, 2));
    if let Some(cap) = cap {
        scores = soft_cap(scores, cap);
    }
    if let Some(mask) = mask {
        let apart = scores.reshape([kv_heads, group, rows, tokens]);
        scores = (apart + mask.reshape([1, 1, rows, tokens])).reshape([kv_heads, group * rows, tokens]);
    }
    let read = softmax(scores, 2).matmul(values);
    read.reshape([kv_heads, group, rows, value_dim]).permute([2, 0, 1, 3]).reshape([rows, heads * value_dim])
}

/// 0 where a row may look, negative infinity elsewhere.
fn mask(window: Option<usize>, rows: usize, tokens: usize, least: usize, device: &Device) -> Tensor<2> {
    let window = window.unwrap_or(tokens);
    let (all_rows, all_tokens) = (rows.max(least), tokens.max(least));
    let row = |row| {
        let own = tokens - rows + row;
        // What a row sees that there is not is left out.
        let sees = move |token| row >= rows || (token <= own && own - token < window);
        (0..all_tokens).map(move |token| if sees(token) { 0.0 } else { f32::NEG_INFINITY })
    };
    let numbers = (0..all_rows).flat_map(row).collect::<Vec<f32>>();
    Tensor::from_data(TensorData::new(numbers, [all_rows, all_tokens]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::{attend, attend_rows};
    use hearth_program::arch::{Attention, Sight};

    const ATTENTION: Attention = Attention {
        heads: 4,
        kv_heads: 2,
        key_dim: 8,
        value_dim: 6,
        scale: 0.35,
        soft_cap: None,
        sight: Sight::Past { window: None },
    };

    /// The definition, one number at a time.
    fn expected(
        cap: Option<f32>,
        sees: impl Fn(usize, usize) -> bool,
        [query, keys, values]: [&[f32]; 3],
        rows: usize,
        tokens: usize,
    ) -> Vec<f32> {
        let Attention { heads, kv_heads, key_dim, value_dim, scale, .. } = ATTENTION;
        let mut out = Vec::new();
        for row in 0..rows {
            for head in 0..heads {
                let kv = head / (heads / kv_heads);
                let weight = |token: usize| {
                    let dot = (0..key_dim).map(|i| {
                        query[(row * heads + head) * key_dim + i] * keys[(kv * tokens + token) * key_dim + i]
                    });
                    let score = f64::from(dot.sum::<f32>() * scale);
                    let score = cap.map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh());
                    if sees(tokens - rows + row, token) { score.exp() } else { 0.0 }
                };
                let weights = (0..tokens).map(weight).collect::<Vec<_>>();
                let sum = weights.iter().sum::<f64>();
                for i in 0..value_dim {
                    let value = |token: usize| f64::from(values[(kv * tokens + token) * value_dim + i]);
                    let read = weights.iter().enumerate().map(|(token, weight)| weight * value(token));
                    out.push((read.sum::<f64>() / sum) as f32);
                }
            }
        }
        out
    }

    fn close(found: Tensor<2>, expected: &[f32]) {
        let found = found.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn it_is_the_definition() {
        let device = Device::flex();
        let random =
            |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Uniform(-2.0, 2.0), &device);
        let numbers = |tensor: &Tensor<3>| tensor.clone().into_data().try_to_vec::<f32>().unwrap();
        for (rows, tokens) in [(1, 1), (1, 9), (5, 5), (3, 70)] {
            let (q, k, v) = (random([1, rows, 32]), random([2, tokens, 8]), random([2, tokens, 6]));
            let inputs = [numbers(&q), numbers(&k), numbers(&v)];
            let inputs = inputs.each_ref().map(Vec::as_slice);
            let q = q.reshape([rows, 32]);
            for soft_cap in [None, Some(0.7)] {
                let attention = Attention { soft_cap, ..ATTENTION };
                for window in [None, Some(1), Some(4), Some(1000)] {
                    let sees = |own, token| token <= own && token + window.unwrap_or(usize::MAX / 2) > own;
                    for least in [1, 4, 32] {
                        let read = attend(&attention, window, q.clone(), k.clone(), v.clone(), least);
                        close(read, &expected(soft_cap, sees, inputs, rows, tokens));
                    }
                }
                if rows == tokens {
                    let read = attend_rows(&attention, q.clone(), k.clone(), v.clone());
                    close(read, &expected(soft_cap, |_, _| true, inputs, rows, tokens));
                }
            }
        }
    }
}
