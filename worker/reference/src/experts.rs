//! Feed-forward networks of which every token takes a few.

use burn::tensor::activation::softmax;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use hearth_program::arch::Experts;

use crate::functions::activate;
use crate::weights::Weights;

impl Weights {
    /// What the experts make of `[rows, width]`: one expert after another, for the rows
    /// that take it.
    pub(crate) fn experts(&self, experts: &Experts, input: Tensor<2>) -> Tensor<2> {
        let Experts { router, gate, up, down, experts, used, normalised, activation } = *experts;
        let scores = softmax(input.clone().matmul(self.matrix(router).transpose()), 1);
        // What the device computed comes back as it was asked for, or the device is gone.
        let scores = scores.into_data().try_to_vec::<f32>().unwrap_or_default();
        let chosen =
            scores.chunks(experts).map(|scores| choose(scores, used, normalised)).collect::<Vec<_>>();
        let mut sum = input.zeros_like();
        for expert in 0..experts {
            let taken = chosen.iter().enumerate().flat_map(|(row, of_row)| {
                of_row
                    .iter()
                    .filter(|(chosen, _)| *chosen == expert)
                    .map(move |(_, share)| (row as i64, *share))
            });
            let (rows, shares): (Vec<i64>, Vec<f32>) = taken.unzip();
            let count = rows.len();
            if count == 0 {
                continue;
            }
            let device = input.device();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &device);
            let shares = Tensor::<2>::from_data(TensorData::new(shares, [count, 1]), &device);
            let x = input.clone().select(0, rows.clone());
            let linear = |x: Tensor<2>, weight| x.matmul(self.expert(weight, expert).transpose());
            let inner = activate(activation, linear(x.clone(), gate)) * linear(x, up);
            sum = sum.select_assign(0, rows, linear(inner, down) * shares, IndexingUpdateOp::Add);
        }
        sum
    }
}

/// The experts of a token and how much each counts.
fn choose(scores: &[f32], used: usize, normalised: bool) -> Vec<(usize, f32)> {
    let mut order = (0..scores.len()).collect::<Vec<_>>();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    order.truncate(used);
    let sum = if normalised { order.iter().map(|expert| scores[*expert]).sum() } else { 1.0 };
    order.into_iter().map(|expert| (expert, scores[expert] / sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn the_largest_are_chosen_and_of_equal_ones_the_first() {
        assert_eq!(choose(&[0.2, 0.3, 0.2, 0.3], 3, false), [(1, 0.3), (3, 0.3), (0, 0.2)]);
        assert_eq!(choose(&[0.25, 0.5, 0.25], 2, true), [(1, 0.5 / 0.75), (0, 0.25 / 0.75)]);
    }
}
