"""The work that both engines are given, and what a run of it gives back."""

from dataclasses import dataclass

THREADS = 2
PORT = 18421


@dataclass(frozen=True)
class Sample:
    """One repetition: tokens a second, seconds or MB; and how many cores others used meanwhile."""

    value: float
    others: float


@dataclass(frozen=True)
class Batch:
    """Sequences at once, tokens of each prompt, tokens generated for each."""

    sequences: int
    prompt: int
    tokens: int


BATCH = Batch(sequences=8, prompt=64, tokens=128)
# Fills each context but for one token, which a start token may take.
MEMORY_CONTEXT = 1024
MEMORY = Batch(sequences=8, prompt=959, tokens=64)
FIRST_PROMPT = "The capital of France is"


def prompts(count: int, tokens: int, round: int) -> list[list[int]]:
    """Ids that every model has. No two prompts or rounds begin alike, so no prefix is found again."""
    state = 0x9E3779B9 * (round + 1) & 0xFFFFFFFF
    out = []
    for _ in range(count):
        prompt = []
        for _ in range(tokens):
            state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
            prompt.append(1000 + (state >> 8) % 40000)
        out.append(prompt)
    return out
