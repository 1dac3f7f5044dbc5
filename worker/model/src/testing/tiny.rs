//! A llama so small that a test can hold it, with random weights.

use super::GgufBuilder;
use crate::{Array, Value};

/// A chat template in the ChatML style that marks whose turn it is.
pub const TINY_CHAT_TEMPLATE: &str = "{% for message in messages %}\
{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}\
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// The sizes of a tiny llama. Token 0 is `<|endoftext|>`, 1 `<|im_start|>` (bos),
/// 2 `<|im_end|>` (eos); then come the 256 bytes, then a few merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct TinyLlama {
    /// Decides the weights.
    pub seed: u64,
    pub layers: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_dim: u32,
    pub ffn: u32,
    pub context_length: u32,
    /// Whether the head is the token embedding.
    pub tied: bool,
}

impl TinyLlama {
    /// Two layers, four heads of eight elements sharing two KV heads, a context
    /// of 256 tokens, a tied head: about 100 KiB.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, layers: 2, heads: 4, kv_heads: 2, head_dim: 8, ffn: 64, context_length: 256, tied: true }
    }

    /// The file, before it is written: to be changed by a test.
    #[must_use]
    pub fn builder(&self) -> GgufBuilder {
        let Self { seed, layers, heads, kv_heads, head_dim, ffn, context_length, tied } = *self;
        let embedding = heads * head_dim;
        let (tokens, types, merges) = vocabulary();
        let vocab = tokens.len() as u64;
        let mut b = GgufBuilder::new()
            .meta("general.architecture", Value::String("llama".into()))
            .meta("general.name", Value::String(format!("Tiny llama {seed}")))
            .meta("general.file_type", Value::U32(0))
            .meta("llama.block_count", Value::U32(layers))
            .meta("llama.context_length", Value::U32(context_length))
            .meta("llama.embedding_length", Value::U32(embedding))
            .meta("llama.feed_forward_length", Value::U32(ffn))
            .meta("llama.attention.head_count", Value::U32(heads))
            .meta("llama.attention.head_count_kv", Value::U32(kv_heads))
            .meta("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
            .meta("llama.rope.freq_base", Value::F32(10_000.0))
            .meta("llama.rope.dimension_count", Value::U32(head_dim))
            .meta("tokenizer.ggml.model", Value::String("gpt2".into()))
            .meta("tokenizer.ggml.pre", Value::String("smollm".into()))
            .meta("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)))
            .meta("tokenizer.ggml.token_type", Value::Array(Array::I32(types)))
            .meta("tokenizer.ggml.merges", Value::Array(Array::String(merges)))
            .meta("tokenizer.ggml.bos_token_id", Value::U32(1))
            .meta("tokenizer.ggml.eos_token_id", Value::U32(2))
            .meta("tokenizer.ggml.unknown_token_id", Value::U32(0))
            .meta("tokenizer.ggml.padding_token_id", Value::U32(2))
            .meta("tokenizer.ggml.add_bos_token", Value::Bool(false))
            .meta("tokenizer.chat_template", Value::String(TINY_CHAT_TEMPLATE.into()));

        let mut random = Random::new(seed);
        let (e, f) = (u64::from(embedding), u64::from(ffn));
        let q = u64::from(heads * head_dim);
        let kv = u64::from(kv_heads * head_dim);
        let mut matrix = |b: GgufBuilder, name: &str, rows: u64, columns: u64| {
            b.f32_tensor(name, &[rows, columns], &random.matrix(rows, columns))
        };
        let norm = |b: GgufBuilder, name: &str| b.f32_tensor(name, &[e], &vec![1.0; e as usize]);
        b = matrix(b, "token_embd.weight", vocab, e);
        for i in 0..layers {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            b = norm(b, &name("attn_norm"));
            b = matrix(b, &name("attn_q"), q, e);
            b = matrix(b, &name("attn_k"), kv, e);
            b = matrix(b, &name("attn_v"), kv, e);
            b = matrix(b, &name("attn_output"), e, q);
            b = norm(b, &name("ffn_norm"));
            b = matrix(b, &name("ffn_gate"), f, e);
            b = matrix(b, &name("ffn_up"), f, e);
            b = matrix(b, &name("ffn_down"), e, f);
        }
        b = norm(b, "output_norm.weight");
        if !tied {
            b = matrix(b, "output.weight", vocab, e);
        }
        b
    }
}

/// The bytes of [`TinyLlama::new`].
#[must_use]
pub fn tiny_llama(seed: u64) -> Vec<u8> {
    tiny_llama_gguf(&TinyLlama::new(seed))
}

/// The bytes of a tiny llama of other sizes.
#[must_use]
pub fn tiny_llama_gguf(tiny: &TinyLlama) -> Vec<u8> {
    tiny.builder().build()
}

/// The printable character that stands for each byte in a byte-level vocabulary.
#[must_use]
pub fn byte_characters() -> [char; 256] {
    let is_itself = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    std::array::from_fn(|b| {
        let b = b as u32;
        let code = if is_itself(b) {
            b
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap_or('\u{fffd}')
    })
}

/// Tokens, their types, merges.
fn vocabulary() -> (Vec<String>, Vec<i32>, Vec<String>) {
    const CONTROL: i32 = 3;
    const NORMAL: i32 = 1;
    let mut tokens: Vec<String> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(str::to_owned).into();
    tokens.extend(byte_characters().map(String::from));
    let merges = ["h e", "l l", "o Ġ", "Ġ t", "i n", "e r", "Ġ a", "he ll", "Ġt he", "hell o"];
    tokens.extend(merges.iter().map(|m| m.replace(' ', "")));
    let types = (0..tokens.len()).map(|id| if id < 3 { CONTROL } else { NORMAL }).collect();
    (tokens, types, merges.map(str::to_owned).into())
}

/// SplitMix64: the same weights on every machine.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform with variance `1 / columns`, so that the output of a layer is
    /// about as large as its input.
    fn matrix(&mut self, rows: u64, columns: u64) -> Vec<f32> {
        let scale = (3.0 / columns as f64).sqrt();
        let uniform = |bits: u64| (bits >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
        (0..rows * columns).map(|_| (uniform(self.next()) * scale) as f32).collect()
    }
}
