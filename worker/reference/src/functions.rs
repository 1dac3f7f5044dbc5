//! Functions of a register, by their definitions.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use hearth_program::arch::{Activation, Norm, NormKind};

/// `x · weightᵀ`, as a product of at least so many rows: the others are zeros, and are
/// left out of the result.
pub(crate) fn product(x: Tensor<2>, weight: Tensor<2>, least: usize) -> Tensor<2> {
    let [rows, _] = x.dims();
    first_rows(pad(x, 0, least).matmul(weight.transpose()), rows)
}

/// Zeros behind what there is, until there are `least` along a dimension.
pub(crate) fn pad<const D: usize>(x: Tensor<D>, dim: usize, least: usize) -> Tensor<D> {
    let mut missing = x.dims();
    if missing[dim] >= least {
        return x;
    }
    missing[dim] = least - missing[dim];
    let zeros = Tensor::zeros(missing, &x.device());
    Tensor::cat(vec![x, zeros], dim)
}

/// So many rows, and no others.
pub(crate) fn first_rows(x: Tensor<2>, rows: usize) -> Tensor<2> {
    let [all, width] = x.dims();
    if all == rows { x } else { x.slice([0..rows, 0..width]) }
}

/// The function of every element.
pub(crate) fn activate<const D: usize>(activation: Activation, x: Tensor<D>) -> Tensor<D> {
    match activation {
        Activation::Silu => silu(x),
        Activation::Gelu => {
            let share = x.clone().mul_scalar(std::f32::consts::FRAC_1_SQRT_2).erf().add_scalar(1.0);
            x * share.mul_scalar(0.5)
        }
        Activation::GeluTanh => {
            let root = (2.0 / std::f32::consts::PI).sqrt();
            let cube = x.clone().powi_scalar(3).mul_scalar(0.044_715);
            let share = (x.clone() + cube).mul_scalar(root).tanh().add_scalar(1.0);
            x * share.mul_scalar(0.5)
        }
    }
}

/// `cap · tanh(x / cap)`.
pub(crate) fn soft_cap<const D: usize>(x: Tensor<D>, cap: f32) -> Tensor<D> {
    x.div_scalar(cap).tanh().mul_scalar(cap)
}

/// A norm of `[rows, width]`; weight and bias are `[width / parts]`.
pub(crate) fn normalise(x: Tensor<2>, norm: &Norm, weight: Tensor<1>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let x = x.reshape([rows * norm.parts, width / norm.parts]);
    let x = match norm.kind {
        NormKind::Rms => x,
        NormKind::Layer => x.clone() - x.mean_dim(1),
    };
    let mean_square = x.clone().powi_scalar(2).mean_dim(1);
    let root = mean_square.add_scalar(norm.epsilon).sqrt();
    let scaled = x / root * weight.unsqueeze::<2>();
    let moved = match bias {
        Some(bias) => scaled + bias.unsqueeze::<2>(),
        None => scaled,
    };
    moved.reshape([rows, width])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use hearth_program::arch::{Activation, Norm, NormKind, WeightId};

    use super::{activate, normalise, soft_cap};

    fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_to_vec().unwrap()
    }

    fn close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        assert!(
            found.iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-6),
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn activations_are_as_published() {
        let at = |activation| {
            numbers(activate(activation, Tensor::<1>::from_floats([-1.0, 0.0, 2.0], &Device::flex())))
        };
        close(&at(Activation::Silu), &[-0.268_941_421, 0.0, 1.761_594_156]);
        close(&at(Activation::Gelu), &[-0.158_655_254, 0.0, 1.954_499_736]);
        close(&at(Activation::GeluTanh), &[-0.158_808_009, 0.0, 1.954_597_694]);
    }

    #[test]
    fn a_cap_leaves_small_numbers_and_bounds_large_ones() {
        let x = Tensor::<1>::from_floats([0.01, -1e6], &Device::flex());
        close(&numbers(soft_cap(x, 30.0)), &[0.009_999_999_63, -30.0]);
    }

    #[test]
    fn norms_of_parts_and_of_rows() {
        let x = || Tensor::<2>::from_floats([[3.0, 4.0, 1.0, 7.0]], &Device::flex());
        let weight = || Tensor::<1>::from_floats([1.0, 2.0], &Device::flex());
        let norm = |kind, parts| Norm { kind, parts, weight: WeightId(0), bias: None, epsilon: 0.0 };
        let (first, second) = (12.5f64.sqrt(), 5.0);
        let heads = normalise(x(), &norm(NormKind::Rms, 2), weight(), None);
        close(&numbers(heads), &[3.0 / first, 8.0 / first, 1.0 / second, 14.0 / second]);
        let heads = normalise(x(), &norm(NormKind::Layer, 2), weight(), Some(weight()));
        close(&numbers(heads), &[0.0, 4.0, 0.0, 4.0]);
        let ones = Tensor::<1>::from_floats([1.0; 4], &Device::flex());
        let row = 18.75f64.sqrt();
        close(
            &numbers(normalise(x(), &norm(NormKind::Rms, 1), ones, None)),
            &[3.0 / row, 4.0 / row, 1.0 / row, 7.0 / row],
        );
    }
}
