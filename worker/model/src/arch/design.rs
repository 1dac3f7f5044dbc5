//! What distinguishes a model beside its sizes.

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)`, with the error function.
    Gelu,
    /// [`Activation::Gelu`] through a hyperbolic tangent:
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))`.
    GeluTanh,
}

/// What a norm does with a vector `x` before its weight and bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NormKind {
    /// `x / √(mean(x²) + ε)`.
    Rms,
    /// `(x - mean(x)) / √(variance(x) + ε)`, the variance over all elements.
    Layer,
}
