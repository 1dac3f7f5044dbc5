//! The families of models, as data.
//!
//! A family is what its files don't say: names, conventions, and what holds where a
//! key is absent. Two families that differ in numbers only are one here, in all that
//! they have in common.

use serde::{Deserialize, Serialize};

use super::names::{self, Names};
use super::{Activation, ArchError, HeadNorms, NormKind, RopePairs};
use crate::Format;

macro_rules! architectures {
    ($($(#[$doc:meta])* $variant:ident = $family:expr;)+) => {
        /// The architectures that can be read.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Architecture { $($(#[$doc])* $variant,)+ }

        impl Architecture {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            pub(super) const fn family(self) -> &'static Family {
                match self {
                    $(Self::$variant => { const FAMILY: Family = $family; &FAMILY })+
                }
            }
        }
    };
}

/// What the files of a family don't say.
pub(super) struct Family {
    /// What people call it.
    name: &'static str,
    /// `general.architecture` of its GGUF files, and what their keys begin with.
    pub(super) gguf: Option<&'static str>,
    /// `model_type` in its `config.json`.
    config: &'static str,
    /// What safetensors files call its tensors.
    names: &'static Names,
    pub(super) norm: NormKind,
    /// Whether there are norms before blocks, behind them and behind their sum.
    pub(super) places: Places,
    pub(super) head_norms: HeadNormsOf,
    /// Pairs in GGUF files; safetensors files always have halves.
    gguf_pairs: RopePairs,
    pub(super) activation: Activation,
    /// Whether the feed-forward network has a gate.
    pub(super) gated: bool,
    /// Whether queries, keys and values must have biases. Others may.
    pub(super) qkv_bias: bool,
    pub(super) windows: WindowRule,
    pub(super) turns: TurnRule,
    /// Whether safetensors files hold how far norms' weights are from 1.
    norms_from_one: bool,
    /// Whether the embedding is multiplied with the root of its width.
    pub(super) root_scale: bool,
    /// Whether files name factors of the embedding, the residual stream and the logits.
    pub(super) multipliers: bool,
    /// How many layers the model has whose attention is scaled by `embedding / heads`
    /// although its heads have another width, and whose GGUF file doesn't say so.
    pub(super) odd_scale_layers: Option<u32>,
    /// Caps of attention scores and logits where a GGUF file names none.
    pub(super) gguf_caps: [Option<f32>; 2],
    /// Whether it is an encoder: tokens see those behind them.
    pub(super) encoder: bool,
    /// Whether positions are learned, a row of a table each.
    pub(super) learned_positions: bool,
}

/// Where the norms are: see [`BlockNorms`](super::BlockNorms).
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) before: bool,
    pub(super) after: bool,
    pub(super) sum: bool,
}

/// The norms of queries and keys of a family.
pub(super) type HeadNormsOf = Option<HeadNorms>;

/// Which layers a window applies to where the file names the window only.
#[derive(Clone, Copy)]
pub(super) enum WindowRule {
    /// All.
    All,
    /// All but every `n`-th.
    ButEvery(u32),
    /// Those from the number on that the config says, if it says that windows are used.
    Qwen,
}

/// Which layers turn queries and keys, and how fast.
#[derive(Clone, Copy)]
pub(super) enum TurnRule {
    /// None.
    Never,
    /// All, alike.
    All,
    /// All but every fourth, where the config doesn't say which.
    ButEveryFourth,
    /// All, those with a window by another base, and without a stretch. It is this where
    /// the file names none.
    Local(f32),
}

const BEFORE: Places = Places { before: true, after: false, sum: false };
const AFTER: Places = Places { before: false, after: true, sum: false };
const AROUND: Places = Places { before: true, after: true, sum: false };
const SUM: Places = Places { before: false, after: false, sum: true };

const LLAMA: Family = Family {
    name: "llama",
    gguf: Some("llama"),
    config: "llama",
    names: &names::DECODER,
    norm: NormKind::Rms,
    places: BEFORE,
    head_norms: None,
    gguf_pairs: RopePairs::Adjacent,
    activation: Activation::Silu,
    gated: true,
    qkv_bias: false,
    windows: WindowRule::All,
    turns: TurnRule::All,
    norms_from_one: false,
    root_scale: false,
    multipliers: false,
    odd_scale_layers: None,
    gguf_caps: [None, None],
    encoder: false,
    learned_positions: false,
};

const QWEN2: Family = Family {
    name: "qwen2",
    gguf: Some("qwen2"),
    config: "qwen2",
    gguf_pairs: RopePairs::Halves,
    qkv_bias: true,
    windows: WindowRule::Qwen,
    ..LLAMA
};

const QWEN3: Family = Family {
    name: "qwen3",
    gguf: Some("qwen3"),
    config: "qwen3",
    qkv_bias: false,
    head_norms: Some(HeadNorms::Heads),
    ..QWEN2
};

const GEMMA2: Family = Family {
    name: "gemma2",
    gguf: Some("gemma2"),
    config: "gemma2",
    names: &names::SANDWICH,
    places: AROUND,
    gguf_pairs: RopePairs::Halves,
    activation: Activation::GeluTanh,
    windows: WindowRule::ButEvery(2),
    norms_from_one: true,
    root_scale: true,
    odd_scale_layers: Some(46),
    gguf_caps: [Some(50.0), Some(30.0)],
    ..LLAMA
};

const BERT: Family = Family {
    name: "bert",
    gguf: Some("bert"),
    config: "bert",
    names: &names::BERT,
    norm: NormKind::Layer,
    places: SUM,
    gguf_pairs: RopePairs::Halves,
    activation: Activation::Gelu,
    gated: false,
    turns: TurnRule::Never,
    encoder: true,
    learned_positions: true,
    ..LLAMA
};

architectures! {
    /// Llama 2 and 3, and all that follow them to the letter.
    Llama = LLAMA;
    /// Llama with a window, where the file says so. Its GGUF files call it llama.
    Mistral = Family { name: "mistral", gguf: None, config: "mistral", ..LLAMA };
    /// Mistral with experts. Its GGUF files call it llama.
    Mixtral = Family { name: "mixtral", gguf: None, config: "mixtral", names: &names::MIXTRAL, ..LLAMA };
    /// Qwen 2 and 2.5: biases of queries, keys and values.
    Qwen2 = QWEN2;
    /// Qwen 3: norms of heads. Also as an embedding model.
    Qwen3 = QWEN3;
    /// Qwen 3 with experts.
    Qwen3Moe = Family { name: "qwen3moe", gguf: Some("qwen3moe"), config: "qwen3_moe", ..QWEN3 };
    /// Norms around blocks, caps, a window in every other layer.
    Gemma2 = GEMMA2;
    /// Norms of heads instead of caps, a window in five layers of six, with a position
    /// embedding of their own.
    Gemma3 = Family {
        name: "gemma3",
        gguf: Some("gemma3"),
        config: "gemma3_text",
        head_norms: Some(HeadNorms::Heads),
        windows: WindowRule::ButEvery(6),
        turns: TurnRule::Local(10_000.0),
        odd_scale_layers: Some(62),
        gguf_caps: [None, None],
        ..GEMMA2
    };
    /// Phi 3, 3.5 and 4: fused matrices, other position embeddings for long contexts,
    /// heads that are turned in part.
    Phi3 = Family { name: "phi3", gguf: Some("phi3"), config: "phi3", gguf_pairs: RopePairs::Halves, ..LLAMA };
    /// Llama with factors of embedding, residual stream, attention and logits.
    Granite =
        Family { name: "granite", gguf: Some("granite"), config: "granite", multipliers: true, ..LLAMA };
    /// Llama without a position embedding in every fourth layer.
    SmolLm3 = Family {
        name: "smollm3",
        gguf: Some("smollm3"),
        config: "smollm3",
        windows: WindowRule::Qwen,
        turns: TurnRule::ButEveryFourth,
        ..LLAMA
    };
    /// Norms behind blocks only, and of all heads of a token together.
    Olmo2 = Family {
        name: "olmo2",
        gguf: Some("olmo2"),
        config: "olmo2",
        names: &names::POST_NORM,
        places: AFTER,
        head_norms: Some(HeadNorms::Row),
        gguf_pairs: RopePairs::Halves,
        windows: WindowRule::ButEvery(4),
        ..LLAMA
    };
    /// BERT and MiniLM: embeddings of texts.
    Bert = BERT;
    /// BERT with a rotary position embedding and a gate.
    NomicBert = Family {
        name: "nomic-bert",
        gguf: Some("nomic-bert"),
        config: "nomic_bert",
        names: &names::NOMIC,
        activation: Activation::Silu,
        gated: true,
        turns: TurnRule::All,
        learned_positions: false,
        ..BERT
    };
}

impl Architecture {
    /// What people call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.family().name
    }

    /// The architecture that a GGUF file's `general.architecture` means.
    ///
    /// # Errors
    /// None has that name; the message says which ones there are.
    pub fn from_gguf_name(name: &str) -> Result<Self, ArchError> {
        Self::find(name, |family| family.gguf)
    }

    /// The architecture that a `config.json`'s `model_type` means.
    ///
    /// # Errors
    /// None has that name; the message says which ones there are.
    pub fn from_model_type(name: &str) -> Result<Self, ArchError> {
        Self::find(name, |family| Some(family.config))
    }

    fn find(name: &str, names: impl Fn(&Family) -> Option<&'static str>) -> Result<Self, ArchError> {
        let known = || Self::ALL.iter().filter_map(|a| names(a.family()).map(|name| (*a, name)));
        known().find(|(_, known)| *known == name).map(|(a, _)| a).ok_or_else(|| ArchError::Unknown {
            found: crate::header::excerpt(name),
            known: known().map(|(_, name)| name).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Family {
    /// What people call it.
    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// What files of a format call its tensors.
    pub(super) const fn names(&self, format: Format) -> &'static Names {
        match format {
            Format::Gguf => &names::GGUF,
            Format::Safetensors => self.names,
        }
    }

    /// Which elements are pairs in files of a format.
    pub(super) const fn pairs(&self, format: Format) -> RopePairs {
        match format {
            Format::Gguf => self.gguf_pairs,
            Format::Safetensors => RopePairs::Halves,
        }
    }

    /// What has to be added to norms' weights in files of a format.
    pub(super) const fn norm_plus(&self, format: Format) -> f32 {
        match format {
            Format::Safetensors if self.norms_from_one => 1.0,
            Format::Gguf | Format::Safetensors => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_unknown_ones_are_told_all() {
        for a in Architecture::ALL {
            assert_eq!(Architecture::ALL.iter().filter(|b| b.name() == a.name()).count(), 1);
            assert_eq!(Architecture::from_model_type(a.family().config), Ok(*a));
            if let Some(name) = a.family().gguf {
                assert_eq!(Architecture::from_gguf_name(name), Ok(*a));
            }
        }
        let message = Architecture::from_gguf_name("mamba").unwrap_err().to_string();
        assert_eq!(
            message,
            "architecture `mamba` is not supported; supported: llama, qwen2, qwen3, qwen3moe, gemma2, \
             gemma3, phi3, granite, smollm3, olmo2, bert, nomic-bert"
        );
        let message = Architecture::from_model_type("mamba").unwrap_err().to_string();
        assert!(
            message.contains("mistral, mixtral, qwen2, qwen3, qwen3_moe, gemma2, gemma3_text"),
            "{message}"
        );
    }
}
