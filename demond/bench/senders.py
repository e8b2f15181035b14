"""Hands for `demond bench control`: eight faders that move as fast as they are told, by MIDI through JACK or by OSC.

`python -m demond.bench.senders midi|osc --out FILE ...` runs in a process of its own, so that its timing and the
daemon's have nothing to do with each other. What it sent and when lies in FILE when it ends: an array with the
columns :data:`SENT`. Each fader counts up, so that a value tells which message it came with.
"""

from __future__ import annotations

import argparse
import queue
import socket
import sys
import time
from pathlib import Path

import numpy as np

from demond.osc.codec import encode

FADERS = 8
SENT = np.dtype([("time_ns", "i8"), ("fader", "i8"), ("value", "f8")])
"""`value` is the travel 0–1 that was sent."""
OSC_STEPS = 4_096
"""An OSC fader has so many positions, each exact as a float32."""


def send_midi(server: str, client_name: str, rate: float, seconds: float) -> list[tuple[int, int, float]]:
    """`rate` controller changes a second, spread over :data:`FADERS` controllers; stamped in JACK's cycle."""
    import jack

    sent: list[tuple[int, int, float]] = []
    done: queue.SimpleQueue[None] = queue.SimpleQueue()
    client = jack.Client(client_name, no_start_server=True, servername=server)
    port = client.midi_outports.register("out")
    total, begun, count = int(rate * seconds), 0, 0

    @client.set_process_callback  # type: ignore[untyped-decorator]
    def process(frames: int) -> None:
        nonlocal begun, count
        port.clear_buffer()
        now = time.monotonic_ns()
        if not port.number_of_connections:
            return
        begun = begun or now
        while count < total and begun + count * 1e9 / rate <= now:
            fader, value = count % FADERS, (count // FADERS + 1) % 128
            port.write_midi_event(0, (0xB0, fader, value))
            sent.append((now, fader, value / 127))
            count += 1
        if count == total:
            count += 1
            done.put(None)

    with client:
        done.get(timeout=seconds + 20)
        time.sleep(0.1)  # the last cycle's messages leave with the next one
    return sent


def send_osc(port: int, knobs: list[str], rate: float, seconds: float) -> list[tuple[int, int, float]]:
    """`rate` messages a second, spread over `knobs`, each stamped before it leaves."""
    sent: list[tuple[int, int, float]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as line:
        line.connect(("127.0.0.1", port))
        begun = time.monotonic_ns()
        for count in range(int(rate * seconds)):
            pause = begun + count * 1e9 / rate - time.monotonic_ns()
            if pause > 0:
                time.sleep(pause / 1e9)
            fader, value = count % len(knobs), (count // len(knobs) + 1) % OSC_STEPS / OSC_STEPS
            message = encode(f"/demond/knob/{knobs[fader]}/norm", value)
            sent.append((time.monotonic_ns(), fader, value))
            line.send(message)
    return sent


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m demond.bench.senders", description=__doc__)
    parser.add_argument("kind", choices=["midi", "osc"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--server", default="default")
    parser.add_argument("--client", default="faders")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--knobs", default="")
    arguments = parser.parse_args()
    if arguments.kind == "midi":
        sent = send_midi(arguments.server, arguments.client, arguments.rate, arguments.seconds)
    else:
        sent = send_osc(arguments.port, arguments.knobs.split(","), arguments.rate, arguments.seconds)
    np.save(arguments.out, np.array(sent, SENT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
