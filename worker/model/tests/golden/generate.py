#!/usr/bin/env python3
"""Writes the goldens of tests/dequant.rs: random blocks and what they stand for,
by the numpy code of PyPI's `gguf` package (0.17 or later).

    python3 -m venv venv && venv/bin/pip install gguf && venv/bin/python generate.py

A file holds the blocks, then their elements as little-endian 32-bit floats.
"""

import pathlib

import numpy as np
from gguf import quants
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType as T

# Where a block keeps its 16-bit floats: random bytes there could be NaN or infinite.
HALVES = {
    T.BF16: [],
    T.Q4_0: [0],
    T.Q4_1: [0, 2],
    T.Q5_0: [0],
    T.Q5_1: [0, 2],
    T.Q8_0: [0],
    T.Q2_K: [80, 82],
    T.Q3_K: [108],
    T.Q4_K: [0, 2],
    T.Q5_K: [0, 2],
    T.Q6_K: [208],
    T.IQ4_NL: [0],
    T.IQ4_XS: [0],
}

here = pathlib.Path(__file__).parent
for kind, halves in HALVES.items():
    random = np.random.default_rng(int(kind))
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (512 // elements, size), dtype=np.uint8)
    if kind == T.BF16:
        blocks = (random.normal(size=512).astype("<f4").view("<u4") >> 16).astype("<u2").view(np.uint8)
        blocks = blocks.reshape(512, 2)
    for at in halves:
        scales = random.normal(scale=0.05, size=len(blocks)).astype("<f2")
        blocks[:, at : at + 2] = scales.view(np.uint8).reshape(-1, 2)
    values = quants.dequantize(blocks.reshape(-1), kind).astype("<f4")
    assert values.size == 512 and np.isfinite(values).all()
    (here / f"{kind.name}.bin").write_bytes(blocks.tobytes() + values.tobytes())
