//! The rotary position embedding.

use burn::tensor::{Device, Tensor, TensorData};
use hearth_model::arch::{Factors, Rope, RopePairs};

use hearth_program::BuildError;

use crate::weights::File;

/// What every pair turns by a token.
pub(crate) struct RopeTable {
    /// Radians a token, one a pair.
    frequencies: Vec<f64>,
    pairs: RopePairs,
    magnitude: f64,
    device: Device,
}

/// The turns of some consecutive positions, `[rows, 1, dims]` each.
pub(crate) struct Turns {
    cos: Tensor<3>,
    /// Negative at the first element of a pair, positive at the second.
    sin: Tensor<3>,
    pairs: RopePairs,
    dims: usize,
}

impl RopeTable {
    /// The table of sequences that hold up to `context_tokens`.
    pub(crate) fn read(
        rope: &Rope,
        context_tokens: u32,
        file: &mut File,
        device: &Device,
    ) -> Result<Self, BuildError> {
        let factors = match rope.factors(context_tokens) {
            None => Vec::new(),
            Some(Factors::Numbers(numbers)) => numbers.clone(),
            Some(Factors::Tensor(tensor)) => file.numbers(tensor)?,
        };
        let (frequencies, magnitude) = (rope.frequencies(&factors), f64::from(rope.magnitude));
        Ok(Self { frequencies, pairs: rope.pairs, magnitude, device: device.clone() })
    }

    /// The turns of `rows` positions from `start` on.
    pub(crate) fn turns(&self, start: usize, rows: usize) -> Turns {
        let dims = 2 * self.frequencies.len();
        let (mut cos, mut sin) = (Vec::with_capacity(rows * dims), Vec::with_capacity(rows * dims));
        for position in start..start + rows {
            for element in 0..dims {
                let (pair, first) = match self.pairs {
                    RopePairs::Adjacent => (element / 2, element % 2 == 0),
                    RopePairs::Halves => (element % (dims / 2), element < dims / 2),
                };
                // In double precision: a position times a frequency of about 1
                // has no digits left after the point in single.
                let angle = position as f64 * self.frequencies[pair];
                let (s, c) = angle.sin_cos();
                cos.push((self.magnitude * c) as f32);
                sin.push((self.magnitude * if first { -s } else { s }) as f32);
            }
        }
        let tensor = |numbers| Tensor::from_data(TensorData::new(numbers, [rows, 1, dims]), &self.device);
        Turns { cos: tensor(cos), sin: tensor(sin), pairs: self.pairs, dims }
    }
}

impl Turns {
    /// Turns `[rows, heads, head_dim]`; elements behind the turned ones stay.
    pub(crate) fn apply(&self, heads: Tensor<3>) -> Tensor<3> {
        let [rows, count, head_dim] = heads.dims();
        if self.dims == head_dim {
            return self.turn(heads);
        }
        let turned = heads.clone().slice([0..rows, 0..count, 0..self.dims]);
        let rest = heads.slice([0..rows, 0..count, self.dims..head_dim]);
        Tensor::cat(vec![self.turn(turned), rest], 2)
    }

    fn turn(&self, x: Tensor<3>) -> Tensor<3> {
        let [rows, heads, dims] = x.dims();
        // The other element of every pair, in its place.
        let other = match self.pairs {
            RopePairs::Adjacent => {
                x.clone().reshape([rows, heads, dims / 2, 2]).flip([3]).reshape([rows, heads, dims])
            }
            RopePairs::Halves => {
                let half = |range| x.clone().slice([0..rows, 0..heads, range]);
                Tensor::cat(vec![half(dims / 2..dims), half(0..dims / 2)], 2)
            }
        };
        x * self.cos.clone() + other * self.sin.clone()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};
    use hearth_model::arch::RopePairs;

    use super::RopeTable;

    fn turned(pairs: RopePairs, position: usize, head: &[f32]) -> Vec<f32> {
        let device = Device::flex();
        let table = RopeTable { frequencies: vec![1.0, 0.5], pairs, magnitude: 1.0, device: device.clone() };
        let x = Tensor::from_data(TensorData::new(head.to_vec(), [1, 1, head.len()]), &device);
        table.turns(position, 1).apply(x).into_data().try_to_vec().unwrap()
    }

    fn close(a: &[f32], b: &[f64]) {
        assert!(a.iter().zip(b).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6), "{a:?} {b:?}");
    }

    #[test]
    fn position_0_turns_nothing() {
        assert_eq!(turned(RopePairs::Adjacent, 0, &[1.0, 2.0, 3.0, 4.0]), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn pairs_turn_by_their_frequency_and_the_rest_stays() {
        let (s1, c1) = 2f64.sin_cos();
        let (s2, c2) = 1f64.sin_cos();
        let expected = [c1, s1, -s2, c2, 7.0];
        close(&turned(RopePairs::Adjacent, 2, &[1.0, 0.0, 0.0, 1.0, 7.0]), &expected);
        let expected = [c1, -s2, s1, c2, 7.0];
        close(&turned(RopePairs::Halves, 2, &[1.0, 0.0, 0.0, 1.0, 7.0]), &expected);
    }
}
