//! Packed blocks to `f32`.
