//! What a request says about choosing tokens.

/// How tokens are chosen. The order in which the fields apply is in
/// [`sampler`](crate::sampler).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy. 0 to 2.
    pub temperature: f32,
    /// Keep the k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set of tokens whose probabilities reach this sum.
    /// Over 0, up to 1.
    pub top_p: f32,
    /// Drop tokens less likely than this fraction of the likeliest. 0 to 1.
    pub min_p: f32,
    /// The same seed, prompt and model give the same output. Absent: random.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: None }
    }
}

impl Sampling {
    /// The likeliest token, always.
    #[must_use]
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}
