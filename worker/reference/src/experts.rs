//! Feed-forward networks of which every token takes a few.

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use hearth_program::arch::Experts;

use crate::functions::activate;
use crate::weights::Weights;

impl Weights {
    /// What the experts make of `[rows, width]`. A row at a time: how many others take the
    /// same experts would show in the last bits.
    pub(crate) fn experts(&self, experts: &Experts, input: Tensor<2>) -> Tensor<2> {
        let [rows, width] = input.dims();
        let row = |row: usize| self.experts_of_one(experts, input.clone().slice([row..row + 1, 0..width]));
        Tensor::cat((0..rows).map(row).collect(), 0)
    }

    fn experts_of_one(&self, experts: &Experts, input: Tensor<2>) -> Tensor<2> {
        let Experts { router, gate, up, down, experts: _, used, normalised, activation } = *experts;
        let scores = softmax(input.clone().matmul(self.matrix(router).transpose()), 1);
        // What the device computed comes back as it was asked for, or the device is gone.
        let scores = scores.into_data().try_to_vec::<f32>().unwrap_or_default();
        let mut sum = input.zeros_like();
        for (expert, share) in choose(&scores, used, normalised) {
            let linear = |x: Tensor<2>, weight| x.matmul(self.expert(weight, expert).transpose());
            let inner = activate(activation, linear(input.clone(), gate)) * linear(input.clone(), up);
            sum = sum + linear(inner, down).mul_scalar(share);
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
