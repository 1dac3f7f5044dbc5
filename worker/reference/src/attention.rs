//! Attention over all keys of a sequence.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor, TensorData};

use hearth_program::arch::Attention;

/// `softmax(query · keysᵀ · scale) · values` for `rows` tokens, of which the last
/// is the last of the keys. Queries are `[rows, heads · key_dim]`, keys and values
/// `[kv_heads, tokens, dim]`, the result `[rows, heads · value_dim]`.
pub(crate) fn attend(
    attention: &Attention,
    query: Tensor<2>,
    keys: Tensor<3>,
    values: Tensor<3>,
) -> Tensor<2> {
    let Attention { heads, kv_heads, key_dim, value_dim, scale } = *attention;
    let ([rows, _], [_, tokens, _]) = (query.dims(), keys.dims());
    let group = heads / kv_heads;
    // The query heads that share a key head become rows of one product.
    let query = query
        .mul_scalar(scale)
        .reshape([rows, kv_heads, group, key_dim])
        .permute([1, 2, 0, 3])
        .reshape([kv_heads, group * rows, key_dim]);
    let device = query.device();
    let mut scores = query.matmul(keys.swap_dims(1, 2));
    if rows > 1 {
        let mask = causal_mask(rows, tokens, &device).reshape([1, 1, rows, tokens]);
        scores = (scores.reshape([kv_heads, group, rows, tokens]) + mask).reshape([
            kv_heads,
            group * rows,
            tokens,
        ]);
    }
    let read = softmax(scores, 2).matmul(values);
    read.reshape([kv_heads, group, rows, value_dim]).permute([2, 0, 1, 3]).reshape([rows, heads * value_dim])
}

/// 0 where a row may look, negative infinity at the tokens behind it.
fn causal_mask(rows: usize, tokens: usize, device: &Device) -> Tensor<2> {
    let first = tokens - rows;
    let row = |row| (0..tokens).map(move |token| if token <= first + row { 0.0 } else { f32::NEG_INFINITY });
    let numbers = (0..rows).flat_map(row).collect::<Vec<f32>>();
    Tensor::from_data(TensorData::new(numbers, [rows, tokens]), device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use super::attend;
    use hearth_program::arch::Attention;

    const ATTENTION: Attention = Attention { heads: 4, kv_heads: 2, key_dim: 8, value_dim: 6, scale: 0.35 };

    /// The definition, one number at a time.
    fn expected(query: &[f32], keys: &[f32], values: &[f32], rows: usize, tokens: usize) -> Vec<f32> {
        let Attention { heads, kv_heads, key_dim, value_dim, scale } = ATTENTION;
        let mut out = Vec::new();
        for row in 0..rows {
            for head in 0..heads {
                let kv = head / (heads / kv_heads);
                let seen = tokens - rows + row + 1;
                let weight = |token: usize| {
                    let dot = (0..key_dim).map(|i| {
                        query[(row * heads + head) * key_dim + i] * keys[(kv * tokens + token) * key_dim + i]
                    });
                    f64::from(dot.sum::<f32>() * scale).exp()
                };
                let weights = (0..seen).map(weight).collect::<Vec<_>>();
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

    #[test]
    fn it_is_the_definition() {
        let device = Device::flex();
        let random =
            |shape: [usize; 3]| Tensor::<3>::random(shape, Distribution::Uniform(-2.0, 2.0), &device);
        let numbers = |tensor: Tensor<3>| tensor.into_data().try_to_vec::<f32>().unwrap();
        for (rows, tokens) in [(1, 1), (1, 9), (5, 5), (3, 70)] {
            let (q, k, v) = (random([1, rows, 32]), random([2, tokens, 8]), random([2, tokens, 6]));
            let read = attend(&ATTENTION, q.clone().reshape([rows, 32]), k.clone(), v.clone());
            let read = read.into_data().try_to_vec::<f32>().unwrap();
            let expected = expected(&numbers(q), &numbers(k), &numbers(v), rows, tokens);
            assert_eq!(read.len(), expected.len());
            assert!(read.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{rows} {tokens}");
        }
    }
}
