"""A controller for `demond bench control`: it is plugged in and out, moved, and keeps what it is shown.

`python -m demond.bench.device NAME SERVER` is a JACK client in a process of its own. It obeys lines on its standard
input and answers each with one line of JSON: `plug` with the time right before its ports appear, `unplug` with the
time after they have gone, `send HEX ...` with the time, and `heard` with all that has come in since it was plugged
in: pairs of a time and a message. Times are `time.monotonic_ns()`.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
from typing import Any

_END_SECONDS = 5.0


class Controller:
    """The bench's end of the process. A context manager that ends it."""

    def __init__(self, name: str, server: str) -> None:
        """Nothing is plugged in yet."""
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "demond.bench.device", name, server],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def plug(self) -> int:
        """Plugs it in; returns when."""
        return int(self._ask("plug"))

    def unplug(self) -> int:
        """Unplugs it; returns when."""
        return int(self._ask("unplug"))

    def send(self, *messages: str) -> int:
        """Sends messages (hex) with the next cycle; returns when they were handed over."""
        return int(self._ask(f"send {' '.join(messages)}"))

    def heard(self) -> list[tuple[int, str]]:
        """What it was shown since it was plugged in, oldest first: times and messages (hex)."""
        return [(int(time_ns), str(data)) for time_ns, data in self._ask("heard")]

    def _ask(self, line: str) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the controller has no lines")
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the controller of the bench has ended; its words are above")
        return json.loads(answer)

    def __enter__(self) -> Controller:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process, tidily if possible: a client that vanishes holds a synchronous jackd up for seconds."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class _Plugged:
    """A JACK client with an output and an input."""

    def __init__(self, name: str, server: str) -> None:
        import jack

        self.heard: list[tuple[int, str]] = []
        self._waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._client = jack.Client(name, no_start_server=True, servername=server)
        self._client.set_process_callback(self._process)
        self.since_ns = time.monotonic_ns()
        self._outlet = self._client.midi_outports.register("out")
        self._inlet = self._client.midi_inports.register("in")
        self._client.activate()

    def send(self, data: bytes) -> None:
        self._waiting.put(data)

    def _process(self, frames: int) -> None:
        now = time.monotonic_ns()
        self.heard.extend((now, bytes(data).hex()) for _, data in self._inlet.incoming_midi_events())
        self._outlet.clear_buffer()
        while not self._waiting.empty():
            self._outlet.write_midi_event(0, self._waiting.get())

    def close(self) -> None:
        self._client.close()


def _obey(line: str, plugged: _Plugged | None, name: str, server: str) -> tuple[_Plugged | None, object]:
    word, *rest = line.split()
    if word == "plug":
        plugged = _Plugged(name, server)
        return plugged, plugged.since_ns
    if plugged is None:
        raise ValueError(f"{word}: it is not plugged in")
    if word == "unplug":
        plugged.close()
        return None, time.monotonic_ns()
    if word == "send":
        for message in rest:
            plugged.send(bytes.fromhex(message))
        return plugged, time.monotonic_ns()
    return plugged, plugged.heard


def main() -> int:
    """The program."""
    name, server = sys.argv[1:]
    plugged: _Plugged | None = None
    for line in sys.stdin:
        plugged, answer = _obey(line, plugged, name, server)
        print(json.dumps(answer), flush=True)
    if plugged is not None:
        plugged.close()
    return 0


if __name__ == "__main__":
    status = main()
    os._exit(status)  # libjack's threads need not be waited for
