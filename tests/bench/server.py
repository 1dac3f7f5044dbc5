"""A llama-server process, and the requests that the figures need."""

import http.client
import json
import os
import subprocess
import threading
import time
from typing import Any

READY_SECONDS = 120
ANSWER_SECONDS = 600


class Server:
    """A context manager: the process runs inside the block."""

    def __init__(self, program: str, arguments: list[str], env: dict[str, str], port: int):
        self.port = port
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [program, "--host", "127.0.0.1", "--port", str(port), *arguments],
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> "Server":
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def _wait(self) -> None:
        until = self.began + READY_SECONDS
        while True:
            if self.process.poll() is not None:
                raise RuntimeError(f"llama-server ended with {self.process.returncode}: {self.process.args}")
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            if time.monotonic() > until:
                raise RuntimeError("llama-server does not become ready")
            time.sleep(0.002)

    def _post(self, body: dict[str, Any]) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"llama-server answers {response.status}: {response.read()[:200]!r}")
        return response

    def complete(self, prompts: list[list[int]], tokens: int) -> float:
        """Seconds from the first request to the last answer, all at once, greedy, `tokens` long each."""
        answers: list[Any] = []
        barrier = threading.Barrier(len(prompts) + 1)

        def ask(prompt: list[int]) -> None:
            body = {
                "prompt": prompt,
                "n_predict": tokens,
                "temperature": 0,
                "ignore_eos": True,
                "cache_prompt": False,
            }
            barrier.wait()
            try:
                answers.append(json.load(self._post(body))["tokens_predicted"])
            except Exception as error:  # judged below, on the thread that waits
                answers.append(error)

        threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in prompts]
        for thread in threads:
            thread.start()
        barrier.wait()
        began = time.monotonic()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        if answers != [tokens] * len(prompts):
            raise RuntimeError(f"llama-server was to answer {tokens} tokens each, not {answers}")
        return seconds

    def first_token(self, prompt: str) -> float:
        """Seconds from the process's start to the first streamed token."""
        response = self._post({"prompt": prompt, "n_predict": 2, "temperature": 0, "stream": True})
        line = response.readline()
        seconds = time.monotonic() - self.began
        if not json.loads(line.removeprefix(b"data: "))["content"]:
            raise RuntimeError(f"the first event carries no text: {line!r}")
        return seconds

    def peak_resident_bytes(self) -> int:
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
        raise RuntimeError("the kernel does not tell VmHWM")
