//! The tensors of a llama: present, readable, of the right shape, and no others.

use std::collections::HashMap;

use super::Numbers;
use super::names::Names;
use crate::arch::{ArchError, LayerWeights, Weights};
use crate::{DType, Header, Tensor};

/// What was found, with its sums.
pub(super) struct Found {
    pub(super) weights: Weights,
    pub(super) rope_factors: Option<Tensor>,
    pub(super) parameters: u64,
    pub(super) f32_bytes: u64,
    pub(super) packed_bytes: u64,
}

/// Hands out the tensors of a header, each once, and sums them.
struct Taker<'a> {
    left: HashMap<&'a str, &'a Tensor>,
    parameters: u64,
    packed_bytes: u64,
}

impl Taker<'_> {
    fn optional(&mut self, name: &str, shape: &[u64]) -> Result<Option<Tensor>, ArchError> {
        let Some(tensor) = self.left.remove(name) else { return Ok(None) };
        if tensor.shape != shape {
            return Err(ArchError::Shape {
                name: name.to_owned(),
                found: tensor.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        if !tensor.dtype.is_readable() {
            return Err(ArchError::UnreadableType { name: name.to_owned(), dtype: tensor.dtype });
        }
        // Too many parameters are refused at the end. Bytes cannot be too many:
        // tensors do not overlap within a file of less than 2^63.
        self.parameters = self.parameters.saturating_add(tensor.elements());
        self.packed_bytes += tensor.bytes;
        Ok(Some(tensor.clone()))
    }

    fn required(&mut self, name: &str, shape: &[u64]) -> Result<Tensor, ArchError> {
        let missing = || ArchError::MissingTensor { name: name.to_owned(), shape: shape.to_vec() };
        self.optional(name, shape)?.ok_or_else(missing)
    }
}

pub(super) fn find(header: &Header, n: &Numbers, names: &Names) -> Result<Found, ArchError> {
    let embedding = u64::from(n.embedding);
    let ffn = u64::from(n.ffn);
    let vocab = u64::from(n.vocab);
    let queries = u64::from(n.heads) * u64::from(n.head_dim_k);
    let keys = u64::from(n.kv_heads) * u64::from(n.head_dim_k);
    let values = u64::from(n.kv_heads) * u64::from(n.head_dim_v);
    let attended = u64::from(n.heads) * u64::from(n.head_dim_v);

    let left = header.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let mut take = Taker { left, parameters: 0, packed_bytes: 0 };
    let token_embedding = take.required(names.token_embedding, &[vocab, embedding])?;
    let mut layers = Vec::new();
    for i in 0..n.layers {
        let mut get =
            |part: &str, shape: &[u64]| take.required(&format!("{}{i}.{part}", names.layer_prefix), shape);
        layers.push(LayerWeights {
            attention_norm: get(names.attention_norm, &[embedding])?,
            query: get(names.query, &[queries, embedding])?,
            key: get(names.key, &[keys, embedding])?,
            value: get(names.value, &[values, embedding])?,
            attention_output: get(names.attention_output, &[embedding, attended])?,
            ffn_norm: get(names.ffn_norm, &[embedding])?,
            gate: get(names.gate, &[ffn, embedding])?,
            up: get(names.up, &[ffn, embedding])?,
            down: get(names.down, &[embedding, ffn])?,
        });
    }
    let output_norm = take.required(names.output_norm, &[embedding])?;
    let head = [vocab, embedding];
    let output = if n.may_tie {
        take.optional(names.output, &head)?
    } else {
        Some(take.required(names.output, &head)?)
    };
    let rope_factors = match names.rope_factors {
        Some(name) => take.optional(name, &[u64::from(n.rope.dims / 2)])?,
        None => None,
    };
    if let Some(factors) = rope_factors.as_ref().filter(|t| t.dtype != DType::F32) {
        return Err(ArchError::UnreadableType { name: factors.name.clone(), dtype: factors.dtype });
    }

    // Sorted, so that the same file always gets the same message.
    let unexpected =
        take.left.keys().filter(|name| !names.derived.iter().any(|end| name.ends_with(end))).min();
    if let Some(name) = unexpected {
        return Err(ArchError::UnexpectedTensor {
            name: crate::header::excerpt(name),
            architecture: "llama",
        });
    }
    let Taker { parameters, packed_bytes, .. } = take;
    let f32_bytes = parameters.checked_mul(4).ok_or_else(|| ArchError::Unsupported {
        feature: "a model of this size",
        found: format!("{parameters} parameters"),
        remedy: "the file is damaged",
    })?;
    let weights = Weights { token_embedding, layers, output_norm, output };
    Ok(Found { weights, rope_factors, parameters, f32_bytes, packed_bytes })
}
