"""A MIDI device of the tests' own: a JACK client in a process of its own, with an output and an input."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import queue, sys, jack
client = jack.Client(sys.argv[1], no_start_server=True)
heard, waiting = [], queue.SimpleQueue()
outlet = client.midi_outports.register("out")
inlet = client.midi_inports.register("in")

@client.set_process_callback
def process(frames):
    for _, data in inlet.incoming_midi_events():
        heard.append(bytes(data).hex())
    outlet.clear_buffer()
    while not waiting.empty():
        outlet.write_midi_event(0, waiting.get())

with client:
    for line in sys.stdin:
        if line.strip():
            waiting.put(bytes.fromhex(line))
        else:
            print(*heard, flush=True)
"""


class Device:
    """Plugged in from the start; a context manager that unplugs it."""

    def __init__(self, server: str, name: str = "box") -> None:
        environment = {**os.environ, "JACK_DEFAULT_SERVER": server, "JACK_NO_START_SERVER": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM, name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, *messages: str) -> None:
        """Sends messages (hex) with the next cycle."""
        assert self._process.stdin is not None
        self._process.stdin.write("".join(f"{message}\n" for message in messages))
        self._process.stdin.flush()

    def heard(self) -> list[str]:
        """All messages (hex) that it was sent so far."""
        assert self._process.stdout is not None
        self.send("")
        return self._process.stdout.readline().split()

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
