"""What a GGUF file of a checkpoint holds: keys as llama.cpp's converter writes them, names from
the gguf package, and what is done to each tensor on the way."""

import math
import re

import gguf

ARCHITECTURES = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}
# Families whose queries and keys are reordered so that adjacent elements are pairs.
PERMUTED = ("llama", "granite", "smollm3")
# Families whose norms' weights are kept as their distance from 1.
FROM_ONE = ("gemma2", "gemma3")


def first(config, *keys):
    return next((config[key] for key in keys if config.get(key) is not None), None)


def metadata(architecture, config, pooling):
    """[key, type, value] each."""
    keys = [["general.architecture", "string", architecture], ["general.file_type", "u32", 0]]

    def add(key, kind, value):
        if value is not None:
            keys.append([key.format(arch=architecture), kind, value])

    llm, attention, rope = gguf.Keys.LLM, gguf.Keys.Attention, gguf.Keys.Rope
    rope_all = config.get("rope_parameters") or {}
    rope_full = rope_all.get("full_attention", rope_all)
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head = config.get("head_dim") or width // heads
    experts = first(config, "num_local_experts", "num_experts")
    add(llm.VOCAB_SIZE, "u32", config["vocab_size"])
    add(llm.BLOCK_COUNT, "u32", config["num_hidden_layers"])
    add(llm.CONTEXT_LENGTH, "u32", config["max_position_embeddings"])
    add(llm.EMBEDDING_LENGTH, "u32", width)
    add(llm.FEED_FORWARD_LENGTH, "u32", config["intermediate_size"])
    add(attention.HEAD_COUNT, "u32", heads)
    add(attention.HEAD_COUNT_KV, "u32", config.get("num_key_value_heads"))
    add(attention.LAYERNORM_RMS_EPS, "f32", config.get("rms_norm_eps"))
    add(attention.LAYERNORM_EPS, "f32", config.get("layer_norm_eps"))
    add(llm.EXPERT_COUNT, "u32", experts)
    add(llm.EXPERT_USED_COUNT, "u32", config.get("num_experts_per_tok") if experts else None)
    add(llm.EXPERT_FEED_FORWARD_LENGTH, "u32", config.get("moe_intermediate_size"))
    if architecture not in ("phi3", "granite", "bert"):
        add(attention.KEY_LENGTH, "u32", config.get("head_dim"))
        add(attention.VALUE_LENGTH, "u32", config.get("head_dim"))
    if architecture in PERMUTED:
        add(rope.DIMENSION_COUNT, "u32", head)
    add(rope.FREQ_BASE, "f32", rope_full.get("rope_theta"))
    add("{arch}.rope.freq_base_swa", "f32", rope_all.get("sliding_attention", {}).get("rope_theta"))
    if rope_full.get("rope_type") == "linear":
        add(rope.SCALING_TYPE, "string", "linear")
        add(rope.SCALING_FACTOR, "f32", rope_full["factor"])
    if rope_full.get("rope_type") == "yarn":
        add(rope.SCALING_TYPE, "string", "yarn")
        add(rope.SCALING_FACTOR, "f32", rope_full["factor"])
        add(rope.SCALING_ORIG_CTX_LEN, "u32", rope_full["original_max_position_embeddings"])
        add(rope.SCALING_YARN_BETA_FAST, "f32", rope_full.get("beta_fast"))
        add(rope.SCALING_YARN_BETA_SLOW, "f32", rope_full.get("beta_slow"))
    if architecture in ("llama", "gemma2", "gemma3", "phi3"):
        # Phi writes 0 for none. Mistral's window has no key of the converter's, but readers know one.
        add(attention.SLIDING_WINDOW, "u32", config.get("sliding_window") or (0 if architecture == "phi3" else None))
    if architecture == "phi3":
        original, context = config["original_max_position_embeddings"], config["max_position_embeddings"]
        add(rope.DIMENSION_COUNT, "u32", int(rope_full.get("partial_rotary_factor", 1.0) * width) // heads)
        add(rope.SCALING_ORIG_CTX_LEN, "u32", original)
        if rope_full.get("rope_type") == "longrope":
            add(rope.SCALING_ATTN_FACTOR, "f32", math.sqrt(1 + math.log(context / original) / math.log(original)))
    if architecture == "gemma2":
        add(llm.ATTN_LOGIT_SOFTCAPPING, "f32", config["attn_logit_softcapping"])
        add(llm.FINAL_LOGIT_SOFTCAPPING, "f32", config["final_logit_softcapping"])
    if architecture == "granite":
        add(attention.SCALE, "f32", config["attention_multiplier"])
        add(llm.EMBEDDING_SCALE, "f32", config["embedding_multiplier"])
        add(llm.RESIDUAL_SCALE, "f32", config["residual_multiplier"])
        add(llm.LOGIT_SCALE, "f32", config["logits_scaling"])
    if architecture in ("bert", "nomic-bert"):
        add(attention.CAUSAL, "bool", False)
        keys.append([gguf.Keys.Tokenizer.TOKEN_TYPE_COUNT, "u32", config["type_vocab_size"]])
    kinds = {"mean": gguf.PoolingType.MEAN, "first": gguf.PoolingType.CLS, "last": gguf.PoolingType.LAST}
    add(llm.POOLING_TYPE, "u32", kinds[pooling].value if pooling else None)
    return keys


def tensors(architecture, config, shapes):
    """{name, shape, from, do}: the sources one after another, then what is done to them."""
    map = gguf.get_tensor_name_map(ARCHITECTURES[architecture], config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    made = []
    experts = {}
    for name, shape in sorted(shapes.items()):
        if name.startswith("pooler."):
            continue
        known = f"model.{name}" if architecture == "qwen3" and not name.startswith(("model.", "lm_head.")) else name
        if match := re.fullmatch(r"(.*\.experts)\.(\d+)\.(\w+)\.weight", known):
            experts.setdefault(f"{match[1]}.{match[3]}.weight", []).append((int(match[2]), name, shape))
            continue
        entry = {"name": map.get_name(known, (".weight", ".bias")), "shape": shape, "from": [name]}
        assert entry["name"], name
        if architecture in PERMUTED and re.search(r"\.(q|k)_proj\.", name):
            entry["permute"] = heads if ".q_proj." in name else config["num_key_value_heads"]
        if architecture in FROM_ONE and name.endswith("norm.weight"):
            entry["plus"] = 1.0
        made.append(entry)
    for known, parts in experts.items():
        shape = [len(parts), *parts[0][2]]
        made.append({"name": map.get_name(known, (".weight",)), "shape": shape, "from": [name for _, name, _ in sorted(parts)]})
    made.extend(factors(config))
    return made


def factors(config):
    """Tensors that hold what the description says of rotary position embeddings."""
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type") == "longrope":
        for kind in ("short", "long"):
            numbers = rope[f"{kind}_factor"]
            yield {"name": f"rope_factors_{kind}.weight", "shape": [len(numbers)], "numbers": numbers}
    if rope.get("rope_type") == "llama3":
        numbers = [llama3_factor(rope, config["head_dim"], i) for i in range(0, config["head_dim"], 2)]
        yield {"name": "rope_freqs.weight", "shape": [len(numbers)], "numbers": numbers}


def llama3_factor(rope, dims, i):
    """By what the frequency of elements i and i + 1 is divided."""
    turns = rope["original_max_position_embeddings"] * rope["rope_theta"] ** (-i / dims) / (2 * math.pi)
    low, high, factor = rope["low_freq_factor"], rope["high_freq_factor"], rope["factor"]
    if turns > high:
        return 1.0
    if turns < low:
        return factor
    smooth = (turns - low) / (high - low)
    return 1 / ((1 - smooth) / factor + smooth)
