"""What is measured of hearth-worker: the same work, by its own `bench`."""

import json
import os
import subprocess
import time

from quiet import Watch
from work import BATCH, FIRST_PROMPT, MEMORY, THREADS, Sample


class Ours:
    """`worker` is the program; each repetition is a process of its own, as llama-bench's is."""

    def __init__(self, worker: str, model: str):
        self.worker, self.model = worker, model

    def _bench(self, *test: str) -> tuple[dict, float]:
        watch = Watch()
        done = subprocess.run(
            [self.worker, "bench", "--model", self.model, "--threads", str(THREADS), *test, "--repetitions", "1", "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"hearth-worker bench: {done.stderr[-400:]}")
        return json.loads(done.stdout), watch.others()

    def _rate(self, *test: str) -> Sample:
        report, others = self._bench(*test)
        [row] = report["rows"]
        return Sample(row["tokens_per_second"]["median"], others)

    def decode(self, _round: int, depth: int, tokens: int) -> Sample:
        return self._rate("--prefill", "0", "--decode", str(tokens), "--depth", str(depth))

    def prefill(self, _round: int, tokens: int) -> Sample:
        return self._rate("--prefill", str(tokens), "--decode", "0")

    def batch(self, _round: int) -> Sample:
        return self._rate(
            "--prefill", "0", "--decode", str(BATCH.tokens), "--batch", str(BATCH.sequences), "--prompt", str(BATCH.prompt)
        )  # fmt: skip

    def start(self, _round: int) -> Sample:
        watch, began = Watch(), time.monotonic()
        arguments = ["--prompt", FIRST_PROMPT, "--max-tokens", "2", "--context", "1024"]
        with subprocess.Popen(
            [self.worker, "generate", "--model", self.model, *arguments],
            env={**os.environ, "HEARTH_LOG": "error"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            first = process.stdout.read(1)
            seconds = time.monotonic() - began
            process.stdout.read()
        if not first or process.returncode != 0:
            raise RuntimeError(f"hearth-worker generate ended with {process.returncode}")
        return Sample(seconds, watch.others())

    def memory(self, _round: int) -> Sample:
        report, _ = self._bench(
            "--prefill", "0", "--decode", str(MEMORY.tokens), "--batch", str(MEMORY.sequences), "--prompt", str(MEMORY.prompt)
        )  # fmt: skip
        return Sample(report["memory"]["peak_resident_bytes"] / 1e6, 0.0)
