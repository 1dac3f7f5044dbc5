"""The figures, their targets, and how a figure is read from its samples."""

import statistics
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable

import llama
from quiet import QUIET
from work import BATCH, Sample

MODELS = {
    "SmolLM2-135M-Q4_1": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "Gemma-3-270M-Q4_K_M": "gemma-3-270m-q4_k_m.gguf",
}


@dataclass(frozen=True)
class Figure:
    """`targets`: a model's ratio, ours to llama.cpp's. `measure` is the name of a method of both engines."""

    name: str
    unit: str
    targets: tuple[float, float]
    settings: list[llama.Setting]
    measure: str
    arguments: dict[str, int] = field(default_factory=dict)
    higher: bool = True

    def target(self, model: str) -> float:
        return self.targets[list(MODELS).index(model)]

    def on(self, engine: Any) -> Callable[..., Sample]:
        return partial(getattr(engine, self.measure), **self.arguments)

    def verdict(self, ratio: float, model: str) -> str:
        good = ratio >= self.target(model) if self.higher else ratio <= self.target(model)
        return "ok" if good else "short"

    def best(self, samples: dict[llama.Setting, list[Sample]]) -> llama.Setting:
        pick = max if self.higher else min
        return pick(samples, key=lambda setting: median(samples[setting]))

    def close(self, samples: dict[llama.Setting, list[Sample]]) -> list[llama.Setting]:
        """The settings that could still turn out to be the best: up to three within 15 %."""
        best = median(samples[self.best(samples)])
        order = sorted(samples, key=lambda setting: median(samples[setting]), reverse=self.higher)
        near = [s for s in order if abs(median(samples[s]) - best) <= 0.15 * best]
        return near[:3]


FIGURES = [
    Figure("decode-128", "tok/s", (1.2, 1.6), llama.SPEED, "decode", {"depth": 0, "tokens": 128}),
    Figure("decode-128@1024", "tok/s", (2.3, 1.6), llama.SPEED, "decode", {"depth": 1024, "tokens": 128}),
    Figure("decode-128@4096", "tok/s", (2.8, 1.7), llama.SPEED, "decode", {"depth": 4096, "tokens": 128}),
    Figure("prefill-512", "tok/s", (4.0, 8.0), llama.SPEED, "prefill", {"tokens": 512}),
    Figure(f"batch-{BATCH.sequences}", "tok/s", (2.0, 2.0), llama.SPEED, "batch"),
    Figure("first-token", "s", (0.5, 0.5), llama.START, "start", higher=False),
    Figure("memory", "MB", (0.75, 0.75), llama.PEAK, "memory", higher=False),
]


def undisturbed(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.others <= QUIET]


def median(samples: list[Sample]) -> float:
    """Of the undisturbed repetitions where there are three, of all otherwise."""
    calm = undisturbed(samples)
    return statistics.median(sample.value for sample in (calm if len(calm) >= 3 else samples))
