//! Activations times packed weights.
