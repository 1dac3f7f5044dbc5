"""What is measured of llama.cpp, in every setting that could be its best."""

import json
import os
import subprocess
from dataclasses import dataclass

from quiet import Watch
from server import Server
from work import BATCH, FIRST_PROMPT, MEMORY, MEMORY_CONTEXT, PORT, THREADS, Sample, prompts

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


@dataclass(frozen=True)
class Setting:
    """KV is f16 and weights are repacked where it can: its defaults, and its best."""

    flash: bool
    huge: bool
    mapped: bool = True
    warm: bool = True

    def __str__(self) -> str:
        words = [f"flash attention {'on' if self.flash else 'off'}"]
        words += ["huge pages"] * self.huge + ["no mmap"] * (not self.mapped) + ["no warm-up"] * (not self.warm)
        return ", ".join(words)

    def env(self) -> dict[str, str]:
        return HUGE_PAGES if self.huge else {}

    def arguments(self) -> list[str]:
        return ["-t", str(THREADS), "-fa", "on" if self.flash else "off", "-lm", "mmap" if self.mapped else "none"]


# Without the mapping the weights lie in malloc's memory, where huge pages reach them.
SPEED = [
    Setting(flash, huge, mapped)
    for flash in (False, True)
    for huge, mapped in ((False, True), (True, True), (True, False))
]
START = [Setting(False, huge, mapped, warm) for huge, mapped in ((False, True), (True, False)) for warm in (True, False)]
PEAK = [Setting(flash, False, mapped) for flash in (False, True) for mapped in (True, False)]


class Llama:
    """`home` is the folder that llama.sh prints."""

    def __init__(self, home: str, model: str):
        self.home, self.model = home, model

    def _bench(self, setting: Setting, *test: str) -> Sample:
        watch = Watch()
        done = subprocess.run(
            [f"{self.home}/bin/llama-bench", "-m", self.model, *setting.arguments(), *test, "-r", "1", "-o", "json"],
            env={**os.environ, **setting.env()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise RuntimeError(f"llama-bench: {done.stderr[-400:]}")
        [row] = json.loads(done.stdout)
        return Sample(row["avg_ts"], watch.others())

    def decode(self, setting: Setting, _round: int, depth: int, tokens: int) -> Sample:
        return self._bench(setting, "-p", "0", "-n", str(tokens), "-d", str(depth))

    def prefill(self, setting: Setting, _round: int, tokens: int) -> Sample:
        return self._bench(setting, "-p", str(tokens), "-n", "0")

    def _serve(self, setting: Setting, slots: int, context: int) -> Server:
        # Neither prompts nor checkpoints are kept: the figures have no use for them, and memory is one.
        arguments = [
            "-m", self.model, *setting.arguments(), "-tb", str(THREADS), "-np", str(slots), "-c", str(slots * context),
            "--no-ui", "--cache-ram", "0", "--ctx-checkpoints", "0", *([] if setting.warm else ["--no-warmup"]),
        ]  # fmt: skip
        return Server(f"{self.home}/bin/llama-server", arguments, setting.env(), PORT)

    def batch(self, setting: Setting, round: int) -> Sample:
        with self._serve(setting, BATCH.sequences, 1024) as server:
            server.complete(prompts(1, 8, round), 8)
            watch = Watch([server.process.pid])
            seconds = server.complete(prompts(BATCH.sequences, BATCH.prompt, round), BATCH.tokens)
            return Sample(BATCH.sequences * BATCH.tokens / seconds, watch.others())

    def start(self, setting: Setting, _round: int) -> Sample:
        watch = Watch()
        with self._serve(setting, 1, 1024) as server:
            seconds = server.first_token(FIRST_PROMPT)
        return Sample(seconds, watch.others())

    def memory(self, setting: Setting, round: int) -> Sample:
        with self._serve(setting, MEMORY.sequences, MEMORY_CONTEXT) as server:
            server.complete(prompts(MEMORY.sequences, MEMORY.prompt, round), MEMORY.tokens)
            return Sample(server.peak_resident_bytes() / 1e6, 0.0)
