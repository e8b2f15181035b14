"""G2 and G3: a controller that is plugged in again, and a mapping that is changed under the player's hands."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

from demond.bench.device import Controller
from demond.bench.rows import Row, below, row
from demond.client import Client

BOX = "box"
"""The controller's name, in JACK and in the mapping."""
MOTORS = (
    "denoise",
    "prompt_blend",
    "hint_strength",
    "feedback",
    "source_lock",
    "sde_amp",
    "protect",
    "velocity_scale",
)
"""One for each motor fader."""
LAMPS = ("mute", "sde")
FADER = "dry_wet"
"""The knob of the one fader without a motor, which has to pick it up."""
PROFILE = f"""profile: bench/box
source: demond bench control
setup: none
ports: '{BOX}:*'
controls:
  fader1: {{cc: 0}}
  motor1..8: {{bend: true, channel: 1..8, kind: fader, follows: true}}
  lamp1..2: {{note: 1..2, kind: button, led: {{}}}}
"""
_PATIENCE = 10.0
_REPLUG_SECONDS = 1.0
_RELOAD_MS = 100.0


def box_mapping(top: float = 1.0, knob: str = FADER) -> str:
    """The lines of the mapping for the box: `top` is where the plain fader's range ends."""
    lines = [f"  - {{from: {BOX}/fader1, to: {knob}, range: [0, {top}]}}"]
    lines += [f"  - {{from: {BOX}/motor{i}, to: {name}}}" for i, name in enumerate(MOTORS, 1)]
    lines += [f"  - {{from: {BOX}/lamp{i}, to: {name}, mode: toggle}}" for i, name in enumerate(LAMPS, 1)]
    return "\n".join(lines) + "\n"


def write_profile(folder: Path) -> None:
    """Puts the box's profile where a mapping in `folder` finds it."""
    (folder / "devices/bench").mkdir(parents=True)
    (folder / "devices/bench/box.yaml").write_text(PROFILE)


def _shown(client: Client) -> set[str]:
    """What the box has to be shown: its motors' positions and its lamps, as messages (hex)."""
    wanted = set()
    for channel, name in enumerate(MOTORS):
        position = round(_value(client, f"/demond/knob/{name}/norm") * 16_383)
        wanted.add(bytes((0xE0 | channel, position & 127, position >> 7)).hex())
    for note, name in enumerate(LAMPS, 1):
        wanted.add(bytes((0x90, note, 127 if _value(client, f"/demond/knob/{name}") else 0)).hex())
    return wanted


def _value(client: Client, address: str) -> float:
    [reply] = client.ask(address)
    value = reply.arguments[0]
    if not isinstance(value, float | int):
        raise RuntimeError(f"{address} answered {value!r}")
    return float(value)


def painted_after(plugged_ns: int, heard: Iterable[tuple[int, str]], wanted: set[str]) -> float | None:
    """Seconds from `plugged_ns` until each message of `wanted` had been heard once; None while one is missing."""
    first: dict[str, int] = {}
    for time_ns, data in heard:
        first.setdefault(data, time_ns)
    if not wanted <= first.keys():
        return None
    return (max(first[data] for data in wanted) - plugged_ns) / 1e9


def replugs(client: Client, server: str, turns: int) -> Row:
    """G2: the box is unplugged and plugged in `turns` times; painted, and its fader has to pick its knob up again."""
    seconds: list[float] = []
    armed = 0
    with Controller(BOX, server) as box:
        box.plug()
        wait_for_port(client, there=True)
        for turn in range(turns):
            client.ask(f"/demond/knob/{FADER}", 0.5)
            box.send("b00040", "b00040", "b0003f")  # the fader picks its knob up, so that there is something to lose
            for i, name in enumerate(MOTORS):
                client.ask(f"/demond/knob/{name}/norm", (turn * 8 + i) % 97 / 96)
            box.unplug()
            wait_for_port(client, there=False)
            wanted = _shown(client)
            plugged_ns = box.plug()
            deadline = time.monotonic() + _PATIENCE
            while (took := painted_after(plugged_ns, box.heard(), wanted)) is None and time.monotonic() < deadline:
                time.sleep(0.01)
            seconds += [took] if took is not None else []
            armed += _is_armed(client, box)
        box.unplug()
        wait_for_port(client, there=False)  # nobody shall take it for the next one
    met = len(seconds) == turns == armed and below(seconds, _REPLUG_SECONDS, 100)
    notes = f"{armed} of {turns} times the takeover was armed again"
    return row("G2", "replug to all lamps and motors painted", "s", seconds, "all < 1 s", met, notes)


def wait_for_port(client: Client, there: bool) -> None:
    """Until the daemon has noticed that the box was plugged in, or out. Raises `RuntimeError`."""
    deadline = time.monotonic() + _PATIENCE
    while (f"{BOX}:out" in client.status()["midi"]["ports"]) != there:
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"the daemon has not noticed that the controller was plugged {'in' if there else 'out'}"
            )
        time.sleep(0.02)


def _is_armed(client: Client, box: Controller) -> bool:
    """Whether the fader, far from its knob, moves nothing."""
    before, count = _value(client, f"/demond/knob/{FADER}"), int(client.messages(0)["count"])
    box.send("b0007f", "b0007e", "b0007f")
    deadline = time.monotonic() + _PATIENCE
    while int(client.messages(0)["count"]) < count + 3 and time.monotonic() < deadline:
        time.sleep(0.005)
    return _value(client, f"/demond/knob/{FADER}") == before


def reloads(client: Client, server: str, mapping: Path, head: str, turns: int) -> Row:
    """G3: from the moment the mapping file is saved until the new mapping holds, `turns` times, each with a bad one.

    `head` is the part of the file before the box's lines.
    """
    before = _trouble(client)
    took: list[float] = []
    wrong: list[str] = []
    with Controller(BOX, server) as box:
        box.plug()
        wait_for_port(client, there=True)
        for turn in range(turns):
            top = (0.25, 0.75)[turn % 2]
            began = time.monotonic_ns()
            _save(mapping, head + box_mapping(top))
            status, _ = _reload(client)
            took.append((time.monotonic_ns() - began) / 1e6)
            wrong += [] if status == "ok" else [f"a good file was refused in turn {turn}"]
            _save(mapping, head + box_mapping(top, knob="drywet"))
            status, words = _reload(client)
            told = status == "error" and f"{mapping}:" in words and "'dry_wet'" in words
            wrong += [] if told else [f"a bad file was answered with {words!r}"]
            client.ask(f"/demond/knob/{FADER}", 0.0)
            if not _sweeps_to(client, box, top):
                wrong.append(f"the fader does not end at {top}")
        _save(mapping, head + box_mapping())
        _reload(client)
    xruns = _trouble(client) - before
    notes = f"{xruns} xruns or lost cycles; {'; '.join(wrong) or f'{turns} bad files changed nothing'}"
    met = below(took, _RELOAD_MS) and not wrong and xruns == 0
    return row("G3", "a mapping is saved and holds", "ms", took, "p99 < 100 ms, 0 xruns", met, notes)


def _trouble(client: Client) -> int:
    audio = client.status()["audio"]
    return int(audio["xruns"]) + int(audio["skipped_cycles"])


def _save(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.replace(fresh, path)


def _reload(client: Client) -> tuple[str, str]:
    """How a reload ended, and its words."""
    client.send("/demond/map/reload")
    while True:
        reply = client.receive()
        if reply.address == "/demond/reply":
            return str(reply.arguments[1]), str(json.loads(str(reply.arguments[2]))["message"])


def _sweeps_to(client: Client, box: Controller, top: float) -> bool:
    """Moves the fader from its lower end to its upper one; whether its knob ends at `top`."""
    box.send("b00000", "b00000", *(f"b000{value:02x}" for value in range(1, 128)))
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if abs(_value(client, f"/demond/knob/{FADER}") - top) < 1e-6:
            return True
        time.sleep(0.005)
    return False
