"""One tiny configuration a family, with every feature of it at work: windows shorter than the
prompts, caps that bite, factors other than 1."""

import transformers as t

# Sizes that all share. Rows are no multiples of 16, heads share keys.
DECODER = dict(
    vocab_size=80,
    hidden_size=48,
    intermediate_size=72,
    num_hidden_layers=2,
    num_attention_heads=6,
    num_key_value_heads=2,
    head_dim=8,
    max_position_embeddings=256,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=0,
)
# Attention that looks at few tokens, so that a wrong position shows.
SHARP = {"q_proj": 2.5, "k_proj": 2.5, "qkv_proj": 2.5, "Wqkv": 2.0, "query": 2.0, "key": 2.0}


# Of an option that a family's configuration doesn't have.
ABSENT = object()


def decoder(config, **options):
    given = {**DECODER, **options}
    return config(**{key: value for key, value in given.items() if value is not ABSENT})


class Family:
    def __init__(self, name, config, gguf, model=None, gains=SHARP, pooling=None, contexts=(256, 256), lengths=(9, 41)):
        self.name, self.config, self.gguf, self.gains, self.pooling = name, config, gguf, gains, pooling
        # Tokens a sequence may hold and tokens of the prompt, for each of two prompts.
        self.contexts, self.lengths = contexts, lengths
        self.model = model or t.AutoModelForCausalLM.from_config


FAMILIES = [
    Family("llama2", decoder(t.LlamaConfig, num_key_value_heads=6, tie_word_embeddings=False), "llama"),
    Family(
        "llama3",
        decoder(
            t.LlamaConfig,
            tie_word_embeddings=True,
            max_position_embeddings=512,
            rope_parameters=dict(
                rope_type="llama3",
                rope_theta=5000.0,
                factor=8.0,
                low_freq_factor=1.0,
                high_freq_factor=4.0,
                original_max_position_embeddings=64,
            ),
        ),
        "llama",
    ),
    Family("mistral", decoder(t.MistralConfig, sliding_window=7), "llama"),
    Family(
        "mixtral",
        decoder(t.MixtralConfig, num_local_experts=5, num_experts_per_tok=2, sliding_window=None),
        "llama",
    ),
    Family("qwen2", decoder(t.Qwen2Config, tie_word_embeddings=True), "qwen2"),
    Family("qwen3", decoder(t.Qwen3Config, head_dim=12), "qwen3"),
    Family(
        "qwen3-yarn",
        decoder(
            t.Qwen3Config,
            head_dim=16,
            rope_parameters=dict(
                rope_type="yarn",
                rope_theta=10_000.0,
                factor=4.0,
                beta_fast=8.0,
                original_max_position_embeddings=64,
            ),
        ),
        "qwen3",
    ),
    Family(
        "qwen3moe",
        decoder(
            t.Qwen3MoeConfig,
            num_hidden_layers=3,
            num_experts=6,
            num_experts_per_tok=3,
            moe_intermediate_size=24,
            norm_topk_prob=True,
        ),
        "qwen3moe",
    ),
    Family(
        "gemma2",
        decoder(
            t.Gemma2Config,
            num_hidden_layers=3,
            query_pre_attn_scalar=8,
            sliding_window=6,
            attn_logit_softcapping=3.0,
            final_logit_softcapping=4.0,
        ),
        "gemma2",
        gains={**SHARP, "norms_from_one": True},
    ),
    Family(
        "gemma3",
        decoder(
            t.Gemma3TextConfig,
            num_hidden_layers=7,
            head_dim=12,
            query_pre_attn_scalar=12,
            sliding_window=6,
            rope_parameters=dict(
                full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1_000_000.0),
                sliding_attention=dict(rope_type="default", rope_theta=10_000.0),
            ),
        ),
        "gemma3",
        gains={**SHARP, "norms_from_one": True},
    ),
    Family(
        "phi3",
        decoder(
            t.Phi3Config,
            head_dim=ABSENT,
            hidden_size=64,
            num_attention_heads=4,
            max_position_embeddings=128,
            original_max_position_embeddings=32,
            sliding_window=None,
            rope_parameters=dict(
                rope_type="longrope",
                rope_theta=10_000.0,
                partial_rotary_factor=0.75,
                short_factor=[1.0, 1.25, 1.5, 1.5, 2.0, 2.0],
                long_factor=[1.0, 2.0, 4.0, 8.0, 12.0, 16.0],
                original_max_position_embeddings=32,
            ),
        ),
        "phi3",
        contexts=(32, 128),
    ),
    Family("phi3-window", decoder(t.Phi3Config, head_dim=ABSENT, sliding_window=7, original_max_position_embeddings=256), "phi3"),
    Family(
        "granite",
        decoder(
            t.GraniteConfig,
            head_dim=ABSENT,
            embedding_multiplier=6.0,
            attention_multiplier=0.25,
            residual_multiplier=0.22,
            logits_scaling=3.0,
            tie_word_embeddings=True,
        ),
        "granite",
    ),
    Family(
        "smollm3",
        decoder(t.SmolLM3Config, num_hidden_layers=5, rope_parameters=dict(rope_type="default", rope_theta=50_000.0)),
        "smollm3",
    ),
    Family("olmo2", decoder(t.Olmo2Config), "olmo2"),
    Family(
        "bert",
        t.BertConfig(
            vocab_size=80,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=6,
            intermediate_size=72,
            max_position_embeddings=160,
        ),
        "bert",
        model=t.BertModel,
        pooling="mean",
        contexts=(160, 160),
        lengths=(9, 141),
    ),
    Family(
        "nomic-bert",
        t.NomicBertConfig(
            vocab_size=80,
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=6,
            head_dim=8,
            intermediate_size=72,
            max_position_embeddings=160,
            rope_parameters=dict(rope_type="default", rope_theta=1000.0),
        ),
        "nomic-bert",
        model=t.NomicBertModel,
        pooling="first",
        contexts=(160, 160),
        lengths=(9, 141),
    ),
    Family("qwen3-embedding", decoder(t.Qwen3Config), "qwen3", model=t.Qwen3Model, pooling="last"),
]
