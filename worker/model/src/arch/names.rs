//! What the formats call tensors.
//!
//! A name here is followed by `.weight` or `.bias` in the file. Tables say all names
//! that a family may use; which tensors a file has decides which are looked for.

/// The names of one format, or of one family in a format.
pub(super) struct Names {
    /// What all names may begin with: the first under which the token embedding is
    /// found. With an empty one the file holds a model without its head.
    pub(super) prefixes: &'static [&'static str],
    pub(super) token_embedding: &'static str,
    pub(super) position_embedding: &'static str,
    pub(super) type_embedding: &'static str,
    pub(super) embedding_norm: &'static str,
    pub(super) output_norm: &'static str,
    /// Without a prefix.
    pub(super) output: &'static str,
    /// Divisors of the rope frequencies, for all contexts, short and long ones. Empty
    /// where the description holds them.
    pub(super) rope_factors: [&'static str; 3],
    /// Followed by the layer's number and a dot.
    pub(super) layer: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    /// Queries, keys and values of all heads, one after another.
    pub(super) qkv: &'static str,
    pub(super) query_norm: &'static str,
    pub(super) key_norm: &'static str,
    pub(super) attention_output: &'static str,
    pub(super) attention_norms: BlockNames,
    pub(super) gate: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    /// Gate and up, one after another.
    pub(super) gate_up: &'static str,
    pub(super) ffn_norms: BlockNames,
    pub(super) experts: ExpertNames,
    /// Ends of names of tensors that repeat what the numbers say.
    pub(super) derived: &'static [&'static str],
    /// Beginnings of names, behind the prefix, of tensors that serve other ends.
    pub(super) ignored: &'static [&'static str],
}

/// The norms around a block, as in [`BlockNorms`](super::BlockNorms).
pub(super) struct BlockNames {
    pub(super) before: &'static str,
    pub(super) after: &'static str,
    pub(super) sum: &'static str,
}

/// The tensors of experts. In names of single ones `{}` is the expert's number.
pub(super) struct ExpertNames {
    pub(super) router: &'static str,
    /// `[experts, ffn, embedding]`, and nothing behind the name.
    pub(super) gate: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    /// `[experts, 2 · ffn, embedding]`: gate and up of each expert.
    pub(super) gate_up: &'static str,
    pub(super) single_gate: &'static str,
    pub(super) single_up: &'static str,
    pub(super) single_down: &'static str,
}

/// No file has a tensor of that name.
const NONE: &str = "";

pub(super) const GGUF: Names = Names {
    prefixes: &[""],
    token_embedding: "token_embd",
    position_embedding: "position_embd",
    type_embedding: "token_types",
    embedding_norm: "token_embd_norm",
    output_norm: "output_norm",
    output: "output",
    rope_factors: ["rope_freqs", "rope_factors_short", "rope_factors_long"],
    layer: "blk.",
    query: "attn_q",
    key: "attn_k",
    value: "attn_v",
    qkv: "attn_qkv",
    query_norm: "attn_q_norm",
    key_norm: "attn_k_norm",
    attention_output: "attn_output",
    attention_norms: BlockNames {
        before: "attn_norm",
        after: "post_attention_norm",
        sum: "attn_output_norm",
    },
    gate: "ffn_gate",
    up: "ffn_up",
    down: "ffn_down",
    // Half of `ffn_up` is the gate where there is none.
    gate_up: "ffn_up",
    ffn_norms: BlockNames { before: "ffn_norm", after: "post_ffw_norm", sum: "layer_output_norm" },
    experts: ExpertNames {
        router: "ffn_gate_inp",
        gate: "ffn_gate_exps.weight",
        up: "ffn_up_exps.weight",
        down: "ffn_down_exps.weight",
        gate_up: "ffn_gate_up_exps.weight",
        single_gate: "ffn_gate.{}",
        single_up: "ffn_up.{}",
        single_down: "ffn_down.{}",
    },
    derived: &[".attn_rot_embd"],
    ignored: &[],
};

pub(super) const DECODER: Names = Names {
    prefixes: &["model.", ""],
    token_embedding: "embed_tokens",
    position_embedding: NONE,
    type_embedding: NONE,
    embedding_norm: NONE,
    output_norm: "norm",
    output: "lm_head",
    rope_factors: [NONE; 3],
    layer: "layers.",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    qkv: "self_attn.qkv_proj",
    query_norm: "self_attn.q_norm",
    key_norm: "self_attn.k_norm",
    attention_output: "self_attn.o_proj",
    attention_norms: BlockNames { before: "input_layernorm", after: NONE, sum: NONE },
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    gate_up: "mlp.gate_up_proj",
    ffn_norms: BlockNames { before: "post_attention_layernorm", after: NONE, sum: NONE },
    experts: ExpertNames {
        router: "mlp.gate",
        gate: NONE,
        up: NONE,
        down: "mlp.experts.down_proj",
        gate_up: "mlp.experts.gate_up_proj",
        single_gate: "mlp.experts.{}.gate_proj",
        single_up: "mlp.experts.{}.up_proj",
        single_down: "mlp.experts.{}.down_proj",
    },
    derived: &[".rotary_emb.inv_freq"],
    ignored: &[],
};

/// Norms before and behind each block.
pub(super) const SANDWICH: Names = Names {
    attention_norms: BlockNames { before: "input_layernorm", after: "post_attention_layernorm", sum: NONE },
    ffn_norms: BlockNames {
        before: "pre_feedforward_layernorm",
        after: "post_feedforward_layernorm",
        sum: NONE,
    },
    ..DECODER
};

/// Norms behind each block only.
pub(super) const POST_NORM: Names = Names {
    attention_norms: BlockNames { before: NONE, after: "post_attention_layernorm", sum: NONE },
    ffn_norms: BlockNames { before: NONE, after: "post_feedforward_layernorm", sum: NONE },
    ..DECODER
};

/// Experts as Mixtral names them.
pub(super) const MIXTRAL: Names = Names {
    experts: ExpertNames {
        router: "block_sparse_moe.gate",
        single_gate: "block_sparse_moe.experts.{}.w1",
        single_up: "block_sparse_moe.experts.{}.w3",
        single_down: "block_sparse_moe.experts.{}.w2",
        ..DECODER.experts
    },
    ..DECODER
};

pub(super) const BERT: Names = Names {
    prefixes: &["", "bert."],
    token_embedding: "embeddings.word_embeddings",
    position_embedding: "embeddings.position_embeddings",
    type_embedding: "embeddings.token_type_embeddings",
    embedding_norm: "embeddings.LayerNorm",
    output_norm: NONE,
    output: NONE,
    layer: "encoder.layer.",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    qkv: NONE,
    query_norm: NONE,
    key_norm: NONE,
    attention_output: "attention.output.dense",
    attention_norms: BlockNames { before: NONE, after: NONE, sum: "attention.output.LayerNorm" },
    gate: NONE,
    up: "intermediate.dense",
    down: "output.dense",
    gate_up: NONE,
    ffn_norms: BlockNames { before: NONE, after: NONE, sum: "output.LayerNorm" },
    derived: &[],
    ignored: &["embeddings.position_ids", "pooler.", "cls."],
    ..DECODER
};

/// As its authors publish it.
pub(super) const NOMIC: Names = Names {
    prefixes: &["", "bert."],
    embedding_norm: "emb_ln",
    layer: "encoder.layers.",
    query: NONE,
    key: NONE,
    value: NONE,
    qkv: "attn.Wqkv",
    attention_output: "attn.out_proj",
    attention_norms: BlockNames { before: NONE, after: NONE, sum: "norm1" },
    gate: "mlp.fc12",
    up: "mlp.fc11",
    down: "mlp.fc2",
    ffn_norms: BlockNames { before: NONE, after: NONE, sum: "norm2" },
    ..BERT
};
