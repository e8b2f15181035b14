"""G5, G6 and G7: surfaces that want different things, appear, and make mistakes; each a UDP socket of its own.

Their sockets stay open until the end, in `crowd`: the daemon knows a client by its port, and a port that is given
back may come again as that of the next one.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np

from demond.bench.rows import Row, below, row
from demond.client import Client
from demond.knobs import KNOBS
from demond.osc.codec import Argument, encode, parse

CLIENTS = 16
KNOB = "/demond/knob/denoise"
_STEPS = 8_192
"""The knob's positions that are used, each exact as a float32, so that a value tells when it was set."""
_SET_SECONDS = 0.01
_COST_MS = 0.5
"""Medians of two runs on a machine that does other work differ by this much anyway."""
_DUMP_MS, _PAINT_MS = 50.0, 1000.0
_PARAMETERS = 200
_EACH = 8
"""Mistakes of one client; it is told ten a second."""


@dataclass
class Listener:
    """One client, and when it was told which value."""

    rate: float
    norm: bool
    bundles: bool
    socket: socket.socket
    told: list[tuple[int, float]] = field(default_factory=list)

    @classmethod
    def subscribed(cls, port: int, number: int) -> Listener:
        """Client `number` of sixteen, with a rate and choices of its own, subscribed to the knob."""
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.connect(("127.0.0.1", port))
        listener = cls(5.0 + 13 * number, bool(number % 2), bool(number // 2 % 2), line)
        options = f"{'norm' if listener.norm else 'real'},{'bundle' if listener.bundles else 'nobundle'}"
        line.send(encode("/demond/subscribe", KNOB, 0, listener.rate, 60, options))
        return listener

    def read(self, time_ns: int) -> None:
        """Takes in one datagram."""
        for message in parse(self.socket.recv(65_536)).messages:
            value = message.arguments[0] if message.address == KNOB else None
            if isinstance(value, float):
                self.told.append((time_ns, value))


def _play(client: Client, listeners: list[Listener], seconds: float) -> tuple[dict[float, int], float]:
    """Sets the knob a hundred times a second while the listeners listen: when each value was set, and the last."""
    sent: dict[float, int] = {}
    done = threading.Event()

    def send() -> None:
        for number in range(1, int(seconds / _SET_SECONDS) + 1):
            value = number % _STEPS / _STEPS
            sent[value] = time.monotonic_ns()
            client.send(KNOB, value)
            time.sleep(_SET_SECONDS)
        done.set()

    with selectors.DefaultSelector() as selector:
        for listener in listeners:
            selector.register(listener.socket, selectors.EVENT_READ, listener)
        sender = threading.Thread(target=send)
        sender.start()
        quiet_after = 2 / min(listener.rate for listener in listeners)
        last_ns = time.monotonic_ns()
        while not done.is_set() or time.monotonic_ns() - last_ns < quiet_after * 1e9:
            for key, _ in selector.select(0.02):
                last_ns = time.monotonic_ns()
                key.data.read(last_ns)
        sender.join()
    return sent, next(reversed(sent))


def many_clients(client: Client, port: int, turns: int, crowd: ExitStack, seconds: float = 1.0) -> Row:
    """G5: fifteen clients with their own rates and choices, with and without a dead sixteenth, by turns."""
    ages: dict[bool, list[float]] = {False: [], True: []}
    lost = hurried = 0
    for turn in range(2 * turns):
        dead = bool(turn % 2)
        listeners = [Listener.subscribed(port, number) for number in range(CLIENTS - dead)]
        if dead:
            line = Listener.subscribed(port, CLIENTS - 1)
            line.socket.close()
        for listener in listeners:
            crowd.callback(listener.socket.close)
        sent, last = _play(client, listeners, seconds)
        for listener in listeners:
            told = [(at, value) for at, value in listener.told if value in sent and at >= sent[value]]
            ages[dead] += [(at - sent[value]) / 1e6 for at, value in told]
            lost += not listener.told or listener.told[-1][1] != last
            hurried += len(told) > listener.rate * (seconds + 0.5) + 2
            listener.socket.send(encode("/demond/unsubscribe"))
    cost = float(np.median(ages[True]) - np.median(ages[False]))
    notes = f"a dead one costs the others {cost:+.2f} ms; {lost} last values lost; {hurried} told too often"
    met = cost < _COST_MS and not lost and not hurried
    what = f"age of a value when one of {CLIENTS} clients is told it"
    return row("G5", what, "ms", ages[True], "a dead one costs 0, 0 lost", met, notes, "age of a value at a client")


def dumps(port: int, turns: int, crowd: ExitStack) -> Row:
    """G6: a new client asks for everything that has a value."""
    took: list[float] = []
    parameters = _STEPS
    for _ in range(turns):
        seconds, count = _until_painted(port, "/demond/dump", crowd)
        took.append(seconds * 1000)
        parameters = min(parameters, count)
    met = below(took, _DUMP_MS) and parameters >= _PARAMETERS
    what = f"a dump of {parameters} parameters to a new client"
    return row("G6", what, "ms", took, "p99 < 50 ms", met, name="a dump to a new client")


def first_paints(port: int, turns: int, crowd: ExitStack) -> Row:
    """G6: a surface that sends its first `/ping` has its whole page."""
    took = []
    for _ in range(turns):
        seconds, _ = _until_painted(port, "/ping", crowd)
        took.append(seconds * 1000)
        time.sleep(0.2)  # new clients are painted at a bounded rate
    met = below(took, _PAINT_MS, 100)
    return row("G6", "a page is right after its first ping", "ms", took, "all < 1000 ms", met)


def _until_painted(port: int, address: str, crowd: ExitStack) -> tuple[float, int]:
    """Seconds from a message of a new client to the end of the dump that follows, and how many values came."""
    line = crowd.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    line.connect(("127.0.0.1", port))
    line.settimeout(10)
    began, count = time.monotonic(), 0
    line.send(encode(address))
    while True:
        for message in parse(line.recv(65_536)).messages:
            if message.address == "/demond/update" and message.arguments == (0,):
                seconds = time.monotonic() - began
                line.send(encode("/demond/unsubscribe"))
                return seconds, count
            count += message.address not in ("/demond/update", "/demond/pong")


MISTAKES: tuple[tuple[str, tuple[Argument, ...]], ...] = (
    ("/elsewhere", ()),
    (KNOB, ("much",)),
    (KNOB, (float("nan"),)),
    (KNOB, (1.0, 2.0)),
    (f"{KNOB}/text", ("x",)),
    ("/demond/knob/[a", (1.0,)),
    ("/demond/knob/x*", (1.0,)),
    ("/demond/subscribe", ()),
    ("/demond/subscribe", (KNOB, 0, 9_000.0)),
    ("/demond/dump", (5,)),
    ("/demond/trace", (0,)),
    ("/demond/sync", ()),
    ("/demond/transport/sync", ("sundial",)),
    ("/demond/lfo/denoise", ("sine",)),
    ("/demond/scene/index", ("x",)),
    ("/demond/prompt/a/text", (5,)),
)


def typos() -> list[tuple[str, str]]:
    """For each knob its name with two letters swapped, and the name."""
    found = []
    for one in KNOBS:
        name, middle = one.name, len(one.name) // 2
        swapped = name[: middle - 1] + name[middle] + name[middle - 1] + name[middle + 1 :]
        if swapped != name and swapped not in {each.name for each in KNOBS}:
            found.append((swapped, name))
    return found


def mistakes(port: int, crowd: ExitStack) -> Row:
    """G7: every bad message is answered by exactly one error, and every typo with the nearest name."""
    wanted: list[tuple[str, tuple[Argument, ...], str]] = [(*each, "") for each in MISTAKES]
    wanted += [(f"/demond/knob/{typo}", (0.5,), name) for typo, name in typos()]
    took: list[float] = []
    wrong: list[str] = []
    exact = 0
    for start in range(0, len(wanted), _EACH):
        client = Client(port=port)
        crowd.callback(client.close)
        for address, arguments, name in wanted[start : start + _EACH]:
            began = time.monotonic()
            replies = client.ask(address, *arguments)
            took.append((time.monotonic() - began) * 1000)
            words = [str(reply.arguments[3]) for reply in replies if reply.address == "/demond/error"]
            if len(replies) != 1 or len(words) != 1:
                wrong.append(f"{address} was answered {len(replies)} times, {len(words)} of them by an error")
            elif name and "did you mean" not in words[0]:
                wrong.append(f"{address}: {words[0]}")
            exact += bool(name) and f"'/demond/knob/{name}'" in " ".join(words)
    notes = "; ".join(wrong[:3]) or f"a hint for each of {len(typos())} typos, {exact} of them the very name"
    return row("G7", "a bad message is answered", "ms", took, "exactly one error each", not wrong, notes)
