//! Architectures: from a header to a model whose tensors and numbers agree.
//!
//! `family` says what the files of a family don't; `names` what they call tensors;
//! `gguf` and `config` read numbers; `find` takes the tensors. Nothing else knows one
//! family from another.

mod config;
mod design;
mod dims;
mod error;
mod family;
mod find;
mod gguf;
mod names;
mod numbers;
mod rope;
mod taker;
#[cfg(test)]
mod tests;
mod tokenizer;
mod weights;

use std::sync::Arc;

pub use design::{Activation, Design, HeadNorms, LayerDesign, NormKind, Pooling, Purpose, Routing};
pub use dims::Dims;
pub use error::ArchError;
pub use family::Architecture;
pub use rope::{Factors, Rope, RopePairs, RopeScaling};
pub use tokenizer::{TokenType, TokenizerKind, TokenizerSpec, ends_turn};
pub use weights::{AttentionWeights, BlockNorms, FfnWeights, LayerWeights, Linear, NormWeights, Weights};

use crate::{Format, Header, quantization};
use family::Family;
use numbers::Numbers;

/// Bytes that a `config.json` may have; real ones have a few thousand.
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// A model file that has been understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The architecture.
    pub architecture: Architecture,
    /// The format of the file.
    pub format: Format,
    /// What the file calls itself.
    pub name: Option<String>,
    /// What people call its quantization: `Q4_K_M`, `Q8_0`, `BF16`.
    pub quantization: String,
    /// Elements of all weights.
    pub parameters: u64,
    /// The names of the files that its tensors lie in, where they are several beside the
    /// one that was read; else empty.
    pub files: Vec<String>,
    /// Bytes that the file, or all of them, must have at least.
    pub min_file_bytes: u64,
    /// The numbers that decide its memory.
    pub dims: Dims,
    /// What it computes, beside that.
    pub design: Design,
    /// Where its tensors lie.
    pub weights: Weights,
    /// Its vocabulary; `None` where the format holds none.
    pub tokenizer: Option<Arc<TokenizerSpec>>,
    /// The Jinja source that renders a chat.
    pub chat_template: Option<Arc<str>>,
}

impl Model {
    /// Understands a GGUF header.
    ///
    /// # Errors
    /// The architecture is unknown, or numbers and tensors do not agree.
    pub fn from_gguf(header: &Header) -> Result<Self, ArchError> {
        let metadata = &header.metadata;
        let architecture = Architecture::from_gguf_name(metadata.require_str("general.architecture")?)?;
        let tokenizer = TokenizerSpec::from_gguf(metadata)?.map(Arc::new);
        let chat_template = metadata.str("tokenizer.chat_template")?.map(Arc::from);
        let name = metadata.str("general.name")?.map(str::to_owned);
        // The parser caps arrays far below this.
        let vocab = tokenizer.as_ref().map(|t| u32::try_from(t.tokens.len()).unwrap_or(u32::MAX));
        let numbers = gguf::numbers(header, architecture.family(), vocab)?;
        Ok(Self { name, tokenizer, chat_template, ..assemble(header, architecture, numbers)? })
    }

    /// Understands a safetensors header with the `config.json` beside it, and with
    /// `1_Pooling/config.json`, if there is one.
    ///
    /// # Errors
    /// As [`Model::from_gguf`], or the config is not what its architecture needs.
    pub fn from_safetensors(
        header: &Header,
        config_json: &[u8],
        pooling_json: Option<&[u8]>,
    ) -> Result<Self, ArchError> {
        let config = parse_config(config_json)?;
        let name = config.get("model_type").and_then(serde_json::Value::as_str);
        let name = name.ok_or_else(|| ArchError::Config("`model_type` is missing".to_owned()))?;
        let architecture = Architecture::from_model_type(name)?;
        let mut numbers = config::numbers(&config, architecture.family())?;
        if let Some(json) = pooling_json {
            numbers.pooling = Some(config::pooling(&parse_config(json)?)?);
        }
        assemble(header, architecture, numbers)
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.design.purpose
    }

    /// The vocabulary's end-of-generation tokens; empty without a vocabulary.
    #[must_use]
    pub fn end_tokens(&self) -> &[u32] {
        self.tokenizer.as_ref().map_or(&[], |t| &t.end_of_generation)
    }
}

fn parse_config(json: &[u8]) -> Result<serde_json::Value, ArchError> {
    match json.len() {
        0..=MAX_CONFIG_BYTES => serde_json::from_slice(json).map_err(|e| ArchError::Config(e.to_string())),
        found => Err(ArchError::Config(format!("{found} bytes; allowed: up to {MAX_CONFIG_BYTES}"))),
    }
}

fn assemble(header: &Header, architecture: Architecture, mut numbers: Numbers) -> Result<Model, ArchError> {
    let family = architecture.family();
    numbers::check(&numbers)?;
    let found = find::find(header, &numbers, family)?;
    if let Some(stretch) = gguf::tensor_scaling(header, family, found.rope_factors)?
        && let Some(rope) = numbers.ropes.first_mut()
    {
        if rope.scaling != RopeScaling::None {
            return Err(ArchError::Unsupported {
                feature: "rope scaling together with a tensor of rope factors",
                found: format!("{:?}", rope.scaling),
                remedy: "convert the model again",
            });
        }
        rope.scaling = stretch;
        numbers::check(&numbers)?;
    }
    let purpose = purpose(&numbers, family, found.headless)?;
    let Numbers {
        layers,
        heads,
        kv_heads,
        head_dim_k,
        head_dim_v,
        embedding,
        ffn: _,
        vocab,
        context_length,
        epsilon,
        activation,
        embedding_scale,
        residual_scale,
        logit_scale,
        logit_cap,
        attention_scale,
        attention_cap,
        sees_ahead,
        ropes,
        design,
        experts,
        may_tie: _,
        pooling: _,
    } = numbers;
    let windows = design.iter().filter_map(|layer| layer.window);
    let dims = Dims {
        layers,
        heads,
        kv_heads,
        head_dim_k,
        head_dim_v,
        embedding,
        ffn: found.ffn,
        experts: experts.map_or(0, |experts| experts.routing.experts),
        experts_used: experts.map_or(0, |experts| experts.routing.used),
        vocab,
        context_length,
        // At most as many as layers.
        windowed_layers: windows.clone().count() as u32,
        window: windows.max().unwrap_or(0),
        sees_ahead,
        weights_f32_bytes: found.sums.f32_bytes,
        weights_packed_bytes: found.sums.packed_bytes,
    };
    let design = Design {
        norm: family.norm,
        epsilon,
        head_norms: family.head_norms.unwrap_or(HeadNorms::Heads),
        activation,
        embedding_scale,
        residual_scale,
        logit_scale,
        logit_cap,
        attention_scale,
        attention_cap,
        sees_ahead,
        ropes,
        layers: design,
        routing: experts.map(|experts| experts.routing),
        purpose,
    };
    Ok(Model {
        architecture,
        format: header.format,
        name: None,
        quantization: quantization::of(header),
        parameters: found.sums.parameters,
        files: header.files.clone(),
        min_file_bytes: header.min_file_bytes,
        dims,
        design,
        weights: found.weights,
        tokenizer: None,
        chat_template: None,
    })
}

/// What the model is for: by what the file says, else by whether it has a head.
fn purpose(numbers: &Numbers, family: &Family, headless: bool) -> Result<Purpose, ArchError> {
    let pooling = match numbers.pooling {
        Some(pooling) => pooling,
        None if family.places.sum => Pooling::Mean,
        None if headless => Pooling::Last,
        None if !numbers.sees_ahead => return Ok(Purpose::Generate),
        None => Pooling::Mean,
    };
    if !numbers.sees_ahead && pooling != Pooling::Last {
        return Err(ArchError::Unsupported {
            feature: "another vector than the last one of a model that reads forward",
            found: format!("{pooling:?}"),
            remedy: "use a model that pools the last vector, or an encoder",
        });
    }
    Ok(Purpose::Embed(pooling))
}
