//! Finds the tensors of a model by the names of its format and family.

use super::family::Family;
use super::names::{BlockNames, Names};
use super::numbers::{Experts, Numbers};
use super::taker::{Sums, Taker};
use super::{
    ArchError, AttentionWeights, BlockNorms, FfnWeights, HeadNorms, LayerWeights, Linear, NormWeights,
    Weights,
};
use crate::{Header, Tensor};

/// What was found.
pub(super) struct Found {
    pub(super) weights: Weights,
    /// Divisors of the rope frequencies: for all contexts, short and long ones.
    pub(super) rope_factors: [Option<Tensor>; 3],
    /// Whether the file has the model without a head by its names.
    pub(super) headless: bool,
    /// Width of the feed-forward networks of a token together, the widest layer's.
    pub(super) ffn: u32,
    pub(super) sums: Sums,
}

/// Sizes as tensors have them.
struct Sizes {
    embedding: u64,
    ffn: u64,
    queries: u64,
    keys: u64,
    values: u64,
    attended: u64,
}

struct Finder<'a> {
    take: Taker<'a>,
    numbers: &'a Numbers,
    family: &'static Family,
    names: &'static Names,
    plus: f32,
    sizes: Sizes,
}

pub(super) fn find(header: &Header, n: &Numbers, family: &'static Family) -> Result<Found, ArchError> {
    let names = family.names(header.format);
    let sizes = Sizes {
        embedding: n.embedding.into(),
        ffn: n.ffn.into(),
        queries: u64::from(n.heads) * u64::from(n.head_dim_k),
        keys: u64::from(n.kv_heads) * u64::from(n.head_dim_k),
        values: u64::from(n.kv_heads) * u64::from(n.head_dim_v),
        attended: u64::from(n.heads) * u64::from(n.head_dim_v),
    };
    let plus = family.norm_plus(header.format);
    let mut finder = Finder { take: Taker::new(header, names), numbers: n, family, names, plus, sizes };
    let weights = finder.weights()?;
    let rope_factors = finder.rope_factors()?;
    let Finder { take, .. } = finder;
    let headless = names.prefixes.len() > 1 && take.prefix.is_empty() && weights.output.is_none();
    let sums = take.finish(family.name())?;
    let ffn = weights.layers.iter().map(|layer| ffn_width(&layer.ffn, n)).max().unwrap_or(0);
    Ok(Found { weights, rope_factors, headless, ffn, sums })
}

fn ffn_width(ffn: &FfnWeights, n: &Numbers) -> u32 {
    match (ffn, n.experts) {
        (FfnWeights::Experts { ffn, .. }, Some(Experts { routing, .. })) => ffn.saturating_mul(routing.used),
        _ => n.ffn,
    }
}

impl Finder<'_> {
    fn weights(&mut self) -> Result<Weights, ArchError> {
        let (vocab, embedding) = (u64::from(self.numbers.vocab), self.sizes.embedding);
        let prefix = self.take.prefix;
        let weight = |name: &str| format!("{prefix}{name}.weight");
        let names = self.names;
        let token_embedding = self.take.required(&weight(names.token_embedding), &[vocab, embedding])?;
        let position_embedding = if self.family.learned_positions {
            let positions = u64::from(self.numbers.context_length);
            Some(self.take.required(&weight(names.position_embedding), &[positions, embedding])?)
        } else {
            None
        };
        let (type_embedding, embedding_norm) = if self.family.encoder {
            let kinds = self.take.table(&weight(names.type_embedding), embedding)?;
            let norm = format!("{prefix}{}", names.embedding_norm);
            (kinds, Some(self.take.norm(&norm, embedding, self.plus)?))
        } else {
            (None, None)
        };
        let layers = (0..self.numbers.layers).map(|i| self.layer(i)).collect::<Result<Vec<_>, _>>()?;
        let (output_norm, output) = if self.family.places.sum {
            (None, None)
        } else {
            let norm = self.take.norm(&format!("{prefix}{}", names.output_norm), embedding, self.plus)?;
            (Some(norm), self.head(vocab, embedding)?)
        };
        Ok(Weights {
            token_embedding,
            position_embedding,
            type_embedding,
            embedding_norm,
            layers,
            output_norm,
            output,
        })
    }

    fn head(&mut self, vocab: u64, embedding: u64) -> Result<Option<Tensor>, ArchError> {
        let name = format!("{}.weight", self.names.output);
        let without_head = self.names.prefixes.len() > 1 && self.take.prefix.is_empty();
        if self.numbers.may_tie || without_head {
            return self.take.optional(&name, &[vocab, embedding]);
        }
        self.take.required(&name, &[vocab, embedding]).map(Some)
    }

    fn rope_factors(&mut self) -> Result<[Option<Tensor>; 3], ArchError> {
        let Some(rope) = self.numbers.ropes.first() else { return Ok([None, None, None]) };
        let pairs = u64::from(rope.dims / 2);
        let [all, short, long] = self.names.rope_factors;
        let mut take = |name: &str| self.take.floats(&format!("{name}.weight"), pairs);
        Ok([take(all)?, take(short)?, take(long)?])
    }

    fn layer(&mut self, i: u32) -> Result<LayerWeights, ArchError> {
        let at = format!("{}{}{i}.", self.take.prefix, self.names.layer);
        let attention_norms = self.norms(&at, &self.names.attention_norms)?;
        let (query, key, value) = self.qkv(&at)?;
        let (query_norm, key_norm) = self.head_norms(&at)?;
        let Sizes { embedding, attended, .. } = self.sizes;
        let output =
            self.take.linear(&format!("{at}{}", self.names.attention_output), embedding, attended)?;
        let attention =
            AttentionWeights { norms: attention_norms, query, key, value, query_norm, key_norm, output };
        let ffn_norms = self.norms(&at, &self.names.ffn_norms)?;
        Ok(LayerWeights { attention, ffn_norms, ffn: self.ffn(&at)? })
    }

    fn norms(&mut self, at: &str, names: &BlockNames) -> Result<BlockNorms, ArchError> {
        let (width, plus, places) = (self.sizes.embedding, self.plus, self.family.places);
        let mut norm = |there: bool, name: &str| {
            there.then(|| self.take.norm(&format!("{at}{name}"), width, plus)).transpose()
        };
        Ok(BlockNorms {
            before: norm(places.before, names.before)?,
            after: norm(places.after, names.after)?,
            sum: norm(places.sum, names.sum)?,
        })
    }

    /// Queries, keys and values, which may lie in one matrix.
    fn qkv(&mut self, at: &str) -> Result<(Linear, Linear, Linear), ArchError> {
        let Sizes { embedding, queries, keys, values, .. } = self.sizes;
        let names = self.names;
        let fused = format!("{at}{}", names.qkv);
        let linears = if self.take.has(&format!("{fused}.weight")) {
            let all = queries.saturating_add(keys).saturating_add(values);
            let fused = self.take.linear(&fused, all, embedding)?;
            [
                fused.rows(0, queries),
                fused.rows(queries, keys),
                fused.rows(queries.saturating_add(keys), values),
            ]
        } else {
            let mut linear =
                |name: &str, outputs| self.take.linear(&format!("{at}{name}"), outputs, embedding);
            [linear(names.query, queries)?, linear(names.key, keys)?, linear(names.value, values)?]
        };
        if self.family.qkv_bias {
            for (linear, name) in linears.iter().zip([names.query, names.key, names.value]) {
                if linear.bias.is_none() {
                    let shape = linear.weight.shape.iter().copied().take(1).collect();
                    return Err(ArchError::MissingTensor { name: format!("{at}{name}.bias"), shape });
                }
            }
        }
        let [query, key, value] = linears;
        Ok((query, key, value))
    }

    fn head_norms(&mut self, at: &str) -> Result<(Option<NormWeights>, Option<NormWeights>), ArchError> {
        let (of_queries, of_keys) = match self.family.head_norms {
            None => return Ok((None, None)),
            Some(HeadNorms::Heads) => {
                let head = u64::from(self.numbers.head_dim_k);
                (head, head)
            }
            Some(HeadNorms::Row) => (self.sizes.queries, self.sizes.keys),
        };
        let query = self.take.norm(&format!("{at}{}", self.names.query_norm), of_queries, self.plus)?;
        let key = self.take.norm(&format!("{at}{}", self.names.key_norm), of_keys, self.plus)?;
        Ok((Some(query), Some(key)))
    }

    fn ffn(&mut self, at: &str) -> Result<FfnWeights, ArchError> {
        let Sizes { embedding, ffn, .. } = self.sizes;
        let names = self.names;
        if let Some(experts) = self.numbers.experts
            && self.take.has(&format!("{at}{}.weight", names.experts.router))
        {
            return self.experts(at, experts);
        }
        let name = |name: &str| format!("{at}{name}");
        let (gate_name, up_name) = (name(names.gate), name(names.up));
        let (gate, up) = match self.family.gated {
            false => (None, self.take.linear(&up_name, ffn, embedding)?),
            true => {
                let fused = name(names.gate_up);
                let is_fused = !self.take.has(&format!("{gate_name}.weight"))
                    && self.take.has(&format!("{fused}.weight"));
                if is_fused {
                    let both = self.take.linear(&fused, ffn.saturating_mul(2), embedding)?;
                    (Some(both.rows(0, ffn)), both.rows(ffn, ffn))
                } else {
                    let gate = self.take.linear(&gate_name, ffn, embedding)?;
                    (Some(gate), self.take.linear(&up_name, ffn, embedding)?)
                }
            }
        };
        let down = self.take.linear(&name(names.down), embedding, ffn)?;
        Ok(match gate {
            Some(gate) => FfnWeights::Gated { gate, up, down },
            None => FfnWeights::Plain { up, down },
        })
    }

    fn experts(&mut self, at: &str, experts: Experts) -> Result<FfnWeights, ArchError> {
        let Experts { routing, ffn: width } = experts;
        let (count, ffn, embedding) = (u64::from(routing.experts), u64::from(width), self.sizes.embedding);
        let names = &self.names.experts;
        let router = self.take.required(&format!("{at}{}.weight", names.router), &[count, embedding])?;
        let fused = format!("{at}{}", names.gate_up);
        let (gate, up) = if !names.gate_up.is_empty() && self.take.has(&fused) {
            let both = self.take.required(&fused, &[count, ffn.saturating_mul(2), embedding])?;
            let half = |of: u64| move |expert: u64| both_rows(expert, of, ffn);
            let part = |rows: &dyn Fn(u64) -> (u64, u64)| {
                let slice = |expert| {
                    let (start, count) = rows(expert);
                    both.rows(start, count)
                };
                (0..count).map(slice).collect::<Vec<_>>()
            };
            (part(&half(0)), part(&half(1)))
        } else {
            let gate = self.stack(at, names.gate, names.single_gate, [count, ffn, embedding])?;
            (gate, self.stack(at, names.up, names.single_up, [count, ffn, embedding])?)
        };
        let down = self.stack(at, names.down, names.single_down, [count, embedding, ffn])?;
        Ok(FfnWeights::Experts { router, gate, up, down, ffn: width })
    }

    /// The matrices of all experts, as one tensor or as one each.
    fn stack(
        &mut self,
        at: &str,
        all: &str,
        single: &str,
        shape: [u64; 3],
    ) -> Result<Vec<Tensor>, ArchError> {
        let name = format!("{at}{all}");
        if !all.is_empty() && self.take.has(&name) {
            return Ok(vec![self.take.required(&name, &shape)?]);
        }
        let [count, outputs, inputs] = shape;
        let one = |expert: u64| {
            let name = format!("{at}{}.weight", single.replace("{}", &expert.to_string()));
            self.take.required(&name, &[outputs, inputs])
        };
        (0..count).map(one).collect()
    }
}

/// Rows of the gate (`of` 0) or up (1) of an expert in a matrix of all, and how many.
fn both_rows(expert: u64, of: u64, ffn: u64) -> (u64, u64) {
    // Within the tensor, whose elements fit 64 bits.
    ((2 * expert + of) * ffn, ffn)
}
