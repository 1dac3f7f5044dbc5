//! Takes the tensors of a header one by one: present, readable, of the right shape,
//! and none left over.

use std::collections::HashMap;

use super::names::Names;
use super::{ArchError, Linear, NormWeights};
use crate::{DType, Header, Tensor, packing};

/// Hands out the tensors of a header, each once, and sums them.
pub(super) struct Taker<'a> {
    left: HashMap<&'a str, &'a Tensor>,
    /// What all names but the head's begin with.
    pub(super) prefix: &'static str,
    names: &'static Names,
    /// Elements handed out.
    parameters: u64,
    /// Bytes that they take in memory.
    bytes: u64,
}

/// What was handed out.
pub(super) struct Sums {
    pub(super) parameters: u64,
    pub(super) f32_bytes: u64,
    pub(super) packed_bytes: u64,
}

impl<'a> Taker<'a> {
    pub(super) fn new(header: &'a Header, names: &'static Names) -> Self {
        let left: HashMap<_, _> = header.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        let embedding = |prefix: &&str| format!("{prefix}{}.weight", names.token_embedding);
        let found = names.prefixes.iter().find(|prefix| left.contains_key(embedding(prefix).as_str()));
        // Without any, the first one's name is told as missing.
        let prefix = found.or(names.prefixes.first()).copied().unwrap_or_default();
        Self { left, prefix, names, parameters: 0, bytes: 0 }
    }

    /// Whether a tensor of that name is left. An empty name is none's.
    pub(super) fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// A tensor as it lies, with all but its first dimensions given.
    fn any(&mut self, name: &str, fits: impl FnOnce(&[u64]) -> bool, wanted: &[u64]) -> Taken {
        let Some(tensor) = self.left.remove(name) else { return Ok(None) };
        if !fits(&tensor.shape) {
            return Err(ArchError::Shape {
                name: name.to_owned(),
                found: tensor.shape.clone(),
                expected: wanted.to_vec(),
            });
        }
        if !tensor.dtype.is_readable() {
            return Err(ArchError::UnreadableType { name: name.to_owned(), dtype: tensor.dtype });
        }
        // Too many parameters are refused at the end.
        self.parameters = self.parameters.saturating_add(tensor.elements());
        self.bytes = self.bytes.saturating_add(packed_bytes(tensor));
        Ok(Some(tensor.clone()))
    }

    pub(super) fn optional(&mut self, name: &str, shape: &[u64]) -> Taken {
        self.any(name, |found| found == shape, shape)
    }

    pub(super) fn required(&mut self, name: &str, shape: &[u64]) -> Result<Tensor, ArchError> {
        let missing = || ArchError::MissingTensor { name: name.to_owned(), shape: shape.to_vec() };
        self.optional(name, shape)?.ok_or_else(missing)
    }

    /// A table of as many rows as the file has.
    pub(super) fn table(&mut self, name: &str, columns: u64) -> Taken {
        self.any(name, |found| matches!(found, [_, found] if *found == columns), &[1, columns])
    }

    /// A tensor of plain 32-bit floats that the description has a use for.
    pub(super) fn floats(&mut self, name: &str, len: u64) -> Taken {
        match self.optional(name, &[len])? {
            Some(tensor) if tensor.dtype != DType::F32 => {
                Err(ArchError::UnreadableType { name: tensor.name, dtype: tensor.dtype })
            }
            found => Ok(found),
        }
    }

    /// A linear layer and its bias, if it has one.
    pub(super) fn linear(&mut self, name: &str, outputs: u64, inputs: u64) -> Result<Linear, ArchError> {
        let weight = self.required(&format!("{name}.weight"), &[outputs, inputs])?;
        Ok(Linear { weight, bias: self.optional(&format!("{name}.bias"), &[outputs])? })
    }

    /// A norm, under either of the names that its weight and bias go by.
    pub(super) fn norm(&mut self, name: &str, width: u64, plus: f32) -> Result<NormWeights, ArchError> {
        let older = format!("{name}.gamma");
        let weight = if self.has(&older) { older } else { format!("{name}.weight") };
        let weight = self.required(&weight, &[width])?;
        let bias = match self.optional(&format!("{name}.bias"), &[width])? {
            Some(bias) => Some(bias),
            None => self.optional(&format!("{name}.beta"), &[width])?,
        };
        Ok(NormWeights { weight, bias, plus })
    }

    /// The sums, if nothing is left that would compute something else.
    pub(super) fn finish(self, architecture: &'static str) -> Result<Sums, ArchError> {
        let Self { left, prefix, names, parameters, bytes } = self;
        let told = |name: &&&str| {
            let own = name.strip_prefix(prefix).unwrap_or(name);
            !names.derived.iter().any(|end| name.ends_with(end))
                && !names.ignored.iter().any(|start| own.starts_with(start) || name.starts_with(start))
        };
        // Sorted, so that the same file always gets the same message.
        if let Some(name) = left.keys().filter(told).min() {
            return Err(ArchError::UnexpectedTensor { name: crate::header::excerpt(name), architecture });
        }
        let f32_bytes = parameters.checked_mul(4).ok_or_else(|| ArchError::Unsupported {
            feature: "a model of this size",
            found: format!("{parameters} parameters"),
            remedy: "the file is damaged",
        })?;
        Ok(Sums { parameters, f32_bytes, packed_bytes: bytes })
    }
}

/// Bytes of a tensor in memory: vectors in `f32`, matrices packed, each of several by
/// itself. A shape that has no packed form is counted as it lies in the file; whoever
/// computes with it refuses it.
fn packed_bytes(tensor: &Tensor) -> u64 {
    let bytes = match tensor.shape.as_slice() {
        [outputs, inputs] => packing::packed_bytes(tensor.dtype, *outputs, *inputs),
        [count, outputs, inputs] => {
            packing::packed_bytes(tensor.dtype, *outputs, *inputs).and_then(|bytes| bytes.checked_mul(*count))
        }
        _ => tensor.elements().checked_mul(4),
    };
    bytes.unwrap_or(tensor.bytes)
}

type Taken = Result<Option<Tensor>, ArchError>;
