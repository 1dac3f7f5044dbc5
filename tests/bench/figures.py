"""The figures, their targets, and how a figure is read from its samples."""

import statistics
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable

import llama
from quiet import QUIET
from work import BATCH, Sample


@dataclass(frozen=True)
class Model:
    """A file, and what a token costs: for saying what the machine allows."""

    file: str
    # Of all tensors. Both heads are tied to the embedding, so decode reads each byte once.
    weight_bytes: int
    # Of the layers' matrices; a prompt's logits are wanted once.
    layer_parameters: int
    # Numbers that a layer keeps of a position, in f16.
    kv_row: int
    # Layers that see everything, layers that see a window, and the window.
    full: int
    windowed: int = 0
    window: int = 0

    def decode_bytes(self, depth: int, tokens: int) -> float:
        """Read for a token, on average over `tokens` tokens after `depth`."""
        seen = depth + tokens / 2
        return self.weight_bytes + 2 * self.kv_row * (self.full * seen + self.windowed * min(seen, self.window))


MODELS = {
    "SmolLM2-135M-Q4_1": Model(
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        weight_bytes=96_576_768,
        layer_parameters=30 * (2 * 576 * 576 + 2 * 576 * 192 + 3 * 576 * 1536),
        kv_row=2 * 3 * 64,
        full=30,
    ),
    "Gemma-3-270M-Q4_K_M": Model(
        "gemma-3-270m-q4_k_m.gguf",
        weight_bytes=246_587_904,
        layer_parameters=18 * (2 * 640 * 1024 + 2 * 640 * 256 + 3 * 640 * 2048),
        kv_row=2 * 1 * 256,
        full=3,
        windowed=15,
        window=512,
    ),
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

    def limit(self, model: Model, machine: dict) -> tuple[float, str] | None:
        """Tokens a second that the machine allows, and what of it; None where nothing is said."""
        if self.measure == "decode":
            return machine["read_bytes_per_second"] / model.decode_bytes(**self.arguments), "memory bandwidth"
        if self.measure == "prefill":
            return machine["bf16_flops"] / (2 * model.layer_parameters), "bf16 peak"
        return None

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
