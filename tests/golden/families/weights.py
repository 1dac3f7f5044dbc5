"""Random weights that another program can make again from a tensor's name alone.

Element i of a tensor is offset + k * step, where k is a signed byte of a hash of the
name and of i, shifted right by `shift`. Offsets and steps are chosen such that every
element is exact in bfloat16 and in half precision too.
"""

import math

import numpy
import torch

MASK = (1 << 64) - 1


def fnv(name):
    """FNV-1a in 64 bits."""
    state = 0xCBF29CE484222325
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


def codes(name, count):
    """`count` signed bytes: the top ones of SplitMix64 from the name's hash on."""
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(fnv(name)) + numpy.uint64(0x9E3779B97F4A7C15) * numpy.arange(1, count + 1, dtype=numpy.uint64)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    return (z >> numpy.uint64(56)).astype(numpy.uint8).view(numpy.int8).astype(numpy.int32)


def recipe(name, shape, gains):
    """[offset, shift, step] of a tensor: a norm's weight is near 1 (or 0, where the family adds
    1), a matrix keeps the size of what it multiplies, times a gain."""
    gain = next((gain for part, gain in gains.items() if part in name), 1.0)
    if len(shape) == 1:
        is_bias = name.endswith("bias")
        offset = 0.0 if is_bias or gains.get("norms_from_one") else 1.0
        return [offset, 3, 1.0 / 16 if is_bias else 1.0 / 32]
    # A signed byte's root mean square is 74.
    step = 2.0 ** round(math.log2(gain / math.sqrt(shape[-1]) / 74))
    return [0.0, 0, step]


def tensor(name, shape, recipe):
    offset, shift, step = recipe
    numbers = offset + (codes(name, math.prod(shape)) >> shift) * step
    made = torch.from_numpy(numbers.astype(numpy.float32)).reshape(shape)
    assert torch.equal(made, made.bfloat16().float()) and torch.equal(made, made.half().float()), name
    return made
