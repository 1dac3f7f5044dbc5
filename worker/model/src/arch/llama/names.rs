//! What the formats call the tensors of a llama.

/// The names of one format. Those of a layer follow `layer_prefix`, the layer's
/// number and a dot.
pub(super) struct Names {
    pub(super) token_embedding: &'static str,
    pub(super) output_norm: &'static str,
    pub(super) output: &'static str,
    /// Divisors of the rope frequencies.
    pub(super) rope_factors: Option<&'static str>,
    pub(super) layer_prefix: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) attention_output: &'static str,
    pub(super) ffn_norm: &'static str,
    pub(super) gate: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    /// Ends of names of tensors that repeat what the numbers say.
    pub(super) derived: &'static [&'static str],
}

pub(super) const GGUF: Names = Names {
    token_embedding: "token_embd.weight",
    output_norm: "output_norm.weight",
    output: "output.weight",
    rope_factors: Some("rope_freqs.weight"),
    layer_prefix: "blk.",
    attention_norm: "attn_norm.weight",
    query: "attn_q.weight",
    key: "attn_k.weight",
    value: "attn_v.weight",
    attention_output: "attn_output.weight",
    ffn_norm: "ffn_norm.weight",
    gate: "ffn_gate.weight",
    up: "ffn_up.weight",
    down: "ffn_down.weight",
    derived: &[".attn_rot_embd"],
};

pub(super) const SAFETENSORS: Names = Names {
    token_embedding: "model.embed_tokens.weight",
    output_norm: "model.norm.weight",
    output: "lm_head.weight",
    rope_factors: None,
    layer_prefix: "model.layers.",
    attention_norm: "input_layernorm.weight",
    query: "self_attn.q_proj.weight",
    key: "self_attn.k_proj.weight",
    value: "self_attn.v_proj.weight",
    attention_output: "self_attn.o_proj.weight",
    ffn_norm: "post_attention_layernorm.weight",
    gate: "mlp.gate_proj.weight",
    up: "mlp.up_proj.weight",
    down: "mlp.down_proj.weight",
    derived: &[".rotary_emb.inv_freq"],
};
