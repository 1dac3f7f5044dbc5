#!/usr/bin/env python3
"""pad.py IN OUT: a model of the llama family made wider with zeros.

K-quants pack 256 weights to a block, and SmolLM2's width of 576 is no multiple
of that. Padded to 768, with the heads that the new columns belong to, it is the
same function: new channels are zero everywhere, the norms' weights make up for
the mean over more channels. So every type can be tried on a trained model.
Weights come out as F16, norms as F32.
"""

import math
import sys

import gguf
import numpy as np

BLOCK = 256


def up(n: int) -> int:
    return -(-n // BLOCK) * BLOCK


def main(source: str, target: str) -> None:
    reader = gguf.GGUFReader(source)
    value = {name: field.contents() for name, field in reader.fields.items()}
    if value["general.architecture"] != "llama":
        sys.exit("pad.py: only the llama family can be padded")
    width, heads, kv_heads = (
        value[f"llama.{key}"] for key in ("embedding_length", "attention.head_count", "attention.head_count_kv")
    )
    head, group = width // heads, heads // kv_heads
    wide = up(width)
    if up(value["llama.feed_forward_length"]) != value["llama.feed_forward_length"]:
        sys.exit("pad.py: the feed-forward length is to be a multiple of 256")
    if wide % (head * group):
        sys.exit("pad.py: the new width holds no whole number of heads")
    shrink = width / wide
    changed = {
        "llama.embedding_length": wide,
        "llama.attention.head_count": wide // head,
        "llama.attention.head_count_kv": wide // head // group,
        "llama.attention.layer_norm_rms_epsilon": value["llama.attention.layer_norm_rms_epsilon"] * shrink,
        "general.file_type": int(gguf.LlamaFileType.MOSTLY_F16),
    }

    # A side is as long as the width, as the keys and values of all heads, or stays.
    sides = {width: wide, kv_heads * head: wide // group}
    writer = gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = field.types[0]
        element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, changed.get(name, field.contents()), kind, element)
    for tensor in reader.tensors:
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        padding = [(0, sides.get(side, side) - side) for side in weights.shape]
        weights = np.pad(weights, padding)
        if weights.ndim == 1:
            weights *= math.sqrt(shrink)
        else:
            weights = weights.astype(np.float16)
        writer.add_tensor(tensor.name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
