"""Surfaces that were exported from a real daemon, used as their programs would use them."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demond.knobs import INDEX, KNOBS, Form
from tests.e2e.exporting import Running, demond, other_value
from tests.e2e.instrument import Instrument
from tests.export import open_stage_control_app, touchosc_app
from tests.export.jsfx import Effect
from tests.export.wire import PATIENCE
from tests.jack import running_jackd, wait_for
from tests.midi.device import Device

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MAPPING = """
demond: 1
include: [reaper.yaml, ableton.yaml, bitwig.yaml, open-stage-control.yaml]
scenes:
  drop: {program: 1, set: {denoise: 0.25}}
  "007": {set: {denoise: 0.75}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, four_seconds: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("export")
    (folder / "set.yaml").write_text(MAPPING)
    options = ("--midi", "jack", "--mapping", str(folder / "set.yaml"), "--source", str(four_seconds))
    options += ("--root", str(four_seconds.parent))
    with running_jackd() as server, Instrument(server.name or "", folder / "log", *options) as instrument:
        instrument.until_playing()
        yield Running(instrument, folder, server.name or "", four_seconds)


def test_what_was_written_is_said_and_nothing_is_written_over(running: Running, tmp_path: Path) -> None:
    said = running.export("open-stage-control", "--output", tmp_path / "set.json", "--listen", 9002)
    assert said["files"] == [str(tmp_path / "set.json"), str(tmp_path / "set.js")]
    assert said["from"] == f"the daemon at 127.0.0.1:{running.instrument.port}"
    assert (said["knobs"], said["scenes"]) == (len(KNOBS), 2)
    command = shlex.split(said["start"])
    assert command[command.index("--send") + 1] == f"127.0.0.1:{running.instrument.port}"
    assert command[command.index("--osc-port") + 1] == "9002"

    before = (tmp_path / "set.js").read_text()
    (tmp_path / "set.json").unlink()
    again = ("export", "open-stage-control", "--port", running.instrument.port, "-o", tmp_path / "set.json")
    refused = demond(*again)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert not (tmp_path / "set.json").exists(), "all of the files or none"
    assert demond(*again, "--force").returncode == 0
    assert (tmp_path / "set.js").read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set.js", "set.json"]

    command = [sys.executable, "-m", "demond.cli", "export", "touchosc", "--offline", "-o", "-", "--layout", "phone"]
    out = subprocess.run(command, capture_output=True, check=True, timeout=90)
    assert touchosc_app.load(out.stdout).frame[2] == 414
    odd = demond("export", "open-stage-control", "--offline", "--output", tmp_path / "set.js", "--force")
    assert odd.returncode == 1
    assert "end in .json" in odd.stderr
    missing = demond("export", "reaper", "--offline", "--output", tmp_path / "no" / "x.jsfx")
    assert missing.returncode == 1
    assert "x.jsfx cannot be written" in missing.stderr
    assert "Traceback" not in missing.stderr


def test_without_a_daemon_the_knobs_are_demonds_own() -> None:
    for extra, why in (("--port", 9), " (nobody answers on 127.0.0.1:9)"), (("--offline",), ""):
        done = demond("export", "reaper", "--output", "-", *extra)
        assert done.returncode == 0
        assert f"demond's own table{why}: {len(KNOBS)} knobs" in done.stderr
        assert len(Effect(done.stdout).sliders) == len(KNOBS)


@pytest.fixture(scope="module")
def page(running: Running) -> Iterator[open_stage_control_app.App]:
    said = running.export("open-stage-control")
    session, module = (Path(running.folder, file).read_text() for file in said["files"])
    app = open_stage_control_app.App(session, module, running.instrument.port)
    yield app
    app.wire.close()


def test_open_stage_control_is_painted_within_a_second_of_opening(
    running: Running, page: open_stage_control_app.App
) -> None:
    shown = [w for w in page.widgets if "address" in w and not page.is_deaf(w)]
    assert len(shown) > 2 * len(KNOBS)

    page.open()
    painted = page.wire.until(page.take, lambda: all(w["id"] in page.values for w in shown), "all is painted")
    assert painted < 1.0
    assert page.values["demond_knob_volume_db"] == 0
    assert page.values["demond_knob_volume_db_text"] == "0 dB"
    assert page.pass_time() == [5000]
    page.wire.until(page.take, lambda: "demond_pong" in page.values, "the ping is answered")


def test_every_widget_of_open_stage_control_does_what_it_says(
    running: Running, page: open_stage_control_app.App
) -> None:
    driven: set[str] = set()
    for widget in page.widgets:
        address, kind = widget.get("address", ""), widget["type"]
        knob = KNOBS[INDEX[address.split("/")[3]]] if address.startswith("/demond/knob/") else None
        if address == "/demond/scene/morph":
            page.press(next(each for each in page.widgets if each.get("address") == "/demond/scene/drop"))
            running.until("/demond/scene/current", "drop")
        if kind == "fader":
            low, high = widget["range"]["min"], widget["range"]["max"]
            if knob is not None:
                page.touch(widget, start=True)
                running.until(f"{address}/touch", 1)
            for share in (0.0, 1.0, 0.37):
                page.drag(widget, low + share * (high - low))
                running.until(address, page.values[widget["id"]])
            if knob is not None:
                page.touch(widget, start=False)
                running.until(f"{address}/touch", 0)
        elif kind == "switch":
            for choice in range(len(widget["values"]["values"])):
                running.until(address, page.press(widget, choice))
        elif kind == "button" and widget["mode"] == "toggle" and not address.endswith("/pause"):
            before = running.told(address)
            assert page.press(widget) != before
            running.until(address, 1 - float(str(before)))
            page.press(widget)
            running.until(address, before)
        elif kind == "button" and knob is not None and address.endswith("/reset"):
            page.press(widget)
            assert page.wire.sent[-1] == (address, ()), "no value"
            running.until(address.removesuffix("/reset"), knob.default)
        elif kind == "button" and widget["mode"] == "tap":
            before = float(str(running.told("/demond/knob/seed")))
            running.until("/demond/knob/seed", before + float(str(page.press(widget))))
        elif kind == "input" and address == "/demond/knob/seed":
            page.type(widget, "4294967294")
            running.until(address, 4294967294.0)
        elif kind == "input" and address in TYPED:
            page.type(widget, TYPED[address])
            running.until(address, number_or_text(TYPED[address]))
        else:
            continue
        driven.add(address)
    left = {widget["address"] for widget in page.widgets if "address" in widget} - driven
    assert {address for address in left if not re.fullmatch(SHOWN_ONLY, address)} <= ELSEWHERE


TYPED = {
    "/demond/prompt/a/text": 'lofi, calm, "80" bpm <&>',
    "/demond/prompt/b/text": "[1, 2]x",
    "/demond/prompt/negative/text": "noise",
    "/demond/prompt/a/lyrics": "la la",
    "/demond/prompt/b/lyrics": "na",
    "/demond/prompt/a/language": "ja",
    "/demond/prompt/b/language": "de",
    "/demond/prompt/a/bpm": "90",
    "/demond/prompt/b/bpm": "100",
    "/demond/prompt/a/key": "a minor",
    "/demond/prompt/b/key": "c major",
    "/demond/prompt/a/time_signature": "3/4",
    "/demond/prompt/b/time_signature": "6/8",
    "/demond/context": "2",
    "/demond/transport/bpm": "101",
    "/demond/transport/meter": "3",
}
SHOWN_ONLY = "/demond/(knob/[a-z0-9_]+/text|pong|scene/next|transport/playing)"
ELSEWHERE = {
    "/demond/scene/drop", "/demond/scene/007", "/demond/scene/undo", "/demond/scene/morph/keep",
    "/demond/scene/morph/pause",
    "/demond/scene/current", "/demond/scene/store", "/demond/scene/remove", "/demond/scene/index",
    "/demond/transport/tap", "/demond/transport/play", "/demond/transport/stop",
    "/demond/source", "/demond/source/silence", "/demond/timbre", "/demond/structure", "/demond/target",
    "/demond/lora/load", "/demond/prompt/a/named", "/demond/prompt/b/named",
    "/demond/trigger/reseed", "/demond/trigger/panic",
}  # fmt: skip
"""What the next test presses, and what is another way to what is pressed here."""


def number_or_text(text: str) -> object:
    return float(text) if re.fullmatch(r"[0-9.]+", text) else text


def test_scenes_the_beat_and_the_source_are_played_from_open_stage_control_and_refusals_are_shown(
    running: Running, page: open_stage_control_app.App
) -> None:
    at = {widget["address"]: widget for widget in page.widgets if "address" in widget}
    recalls = {"/demond/scene/drop": ("drop", 0.25), "/demond/scene/007": ("007", 0.75)}
    for address, (name, denoise) in recalls.items():
        page.press(at[address])
        assert page.wire.sent[-1] == (address, ())
        running.until("/demond/scene/current", name)
        running.until("/demond/knob/denoise", denoise)
    page.press(at["/demond/scene/undo"])
    running.until("/demond/knob/denoise", 0.25)
    page.type(at["/demond/scene/index"], "1")
    running.until("/demond/scene/current", "drop")
    page.type(at["/demond/scene/store"], "mine")
    wait_for(lambda: "mine" in running.scenes(), PATIENCE, "the scene is stored")
    page.type(at["/demond/scene/current"], "mine")
    running.until("/demond/scene/current", "mine")
    page.type(at["/demond/scene/remove"], "mine")
    wait_for(lambda: "mine" not in running.scenes(), PATIENCE, "the scene is forgotten")
    running.instrument.client.ask("/demond/scene/current", "007", 60.0)
    for paused in (1, 0):
        page.press(at["/demond/scene/morph/pause"])
        running.until("/demond/scene/morph/pause", paused)
    page.press(at["/demond/scene/morph/keep"])
    page.press(at["/demond/transport/stop"])
    running.until("/demond/transport/playing", 0)
    page.press(at["/demond/transport/play"])
    running.until("/demond/transport/playing", 1)
    page.press(at["/demond/transport/tap"])
    page.type(at["/demond/source/silence"], "2")
    running.until("/demond/source/silence", 2)
    for word in ("source", "timbre", "structure", "target"):
        page.type(at[f"/demond/{word}"], str(running.clip))
        running.until(f"/demond/{word}", str(running.clip.resolve()))
    page.type(at["/demond/lora/load"], "nothing.safetensors")
    page.wire.until(page.take, lambda: any("lora" in note for note in page.notes), "the refusal is shown")


def test_what_others_set_is_seen_in_open_stage_control(running: Running, page: open_stage_control_app.App) -> None:
    wanted = {}
    for knob in KNOBS:
        value = other_value(knob, 0.8)
        running.instrument.client.ask(f"/demond/knob/{knob.name}", int(value) if knob.form is Form.INT else value)
        wanted[f"demond_knob_{knob.name}"] = value
    running.instrument.client.change(("/demond/prompt/a/text", ["seen by all"]))

    def seen() -> bool:
        return all(float(str(page.values.get(name, "nan"))) == pytest.approx(value) for name, value in wanted.items())

    page.wire.until(page.take, seen, "every knob is seen")
    page.wire.until(page.take, lambda: page.values["demond_prompt_a_text"] == "seen by all", "the prompt is seen")
    page.wire.until(page.take, lambda: page.values["demond_knob_shift_text"] == "5", "the text is seen")


@pytest.fixture(scope="module")
def tablet(running: Running) -> Iterator[touchosc_app.App]:
    said = running.export("touchosc")
    app = touchosc_app.App(Path(running.folder, said["files"][0]).read_bytes(), running.instrument.port)
    yield app
    app.wire.close()


def test_touchosc_is_painted_within_a_second_of_its_first_ping(running: Running, tmp_path: Path) -> None:
    # The script says the port of the layout, so the layout has to be made for that of this socket.
    for knob in KNOBS:
        running.instrument.client.ask(f"/demond/knob/{knob.name}/norm", 0.25)
    wire = touchosc_app.Wire(running.instrument.port)
    said = running.export("touchosc", "-o", tmp_path / "own.tosc", "--listen", wire.port)
    app = touchosc_app.App(Path(said["files"][0]).read_bytes(), running.instrument.port, wire)
    faders = [node for node in app.nodes if node.kind == "FADER" and "/demond/knob/" in node.messages[0].address]
    texts = [n for n in app.nodes if n.messages and n.messages[0].address.endswith("/text") and n.kind == "LABEL"]
    exact = [node for node in faders if node.properties["grid"] == "0"]
    assert len(exact) > 30

    def painted() -> bool:
        right = all(node.values["x"] == pytest.approx(0.25, abs=1e-6) for node in exact)
        return right and all(node.values["text"] for node in texts)

    app.frame()
    assert app.wire.until(app.take, painted, "every fader and every text is painted") < 1.0
    assert [address for address, _ in app.wire.sent] == ["/ping", "/demond/subscribe"]
    assert app.wire.sent[0][1] == (("i", wire.port),)
    app.frame(4000)
    assert len(app.wire.sent) == 2, "not yet"
    app.frame(1001)
    assert app.wire.sent[2:] == [("/ping", (("i", wire.port),))]
    wire.close()


def test_every_control_of_touchosc_does_what_it_says(running: Running, tablet: touchosc_app.App) -> None:
    driven = 0
    for node in tablet.nodes:
        if not node.messages or not node.messages[0].send:
            continue
        message = node.messages[0]
        address, parts = message.address, message.address.split("/")
        knob = KNOBS[INDEX[parts[3]]] if parts[2] == "knob" else None
        if node.kind == "FADER" and knob is not None:
            tablet.set(node, "touch", True)
            running.until(f"/demond/knob/{knob.name}/touch", 1)
            for norm in (1.0, 0.0, 0.5):
                tablet.set(node, "x", norm)
                running.until(f"/demond/knob/{knob.name}", knob.from_norm(norm))
            tablet.set(node, "touch", False)
            running.until(f"/demond/knob/{knob.name}/touch", 0)
        elif node.kind == "FADER":
            if address == "/demond/scene/morph":
                running.instrument.client.change(("/demond/scene/current", ["drop"]))
            part = message.arguments[0]
            tablet.set(node, "x", 0.5)
            running.until(address, part.low + 0.5 * (part.high - part.low))
        elif node.kind == "BUTTON" and knob is not None and parts[-1] == "reset":
            tablet.press(node)
            running.until(f"/demond/knob/{knob.name}", knob.default)
        elif node.kind == "BUTTON" and node.properties["buttonType"] == "2" and knob is not None:
            before = float(str(running.told(f"/demond/knob/{knob.name}")))
            node.values["x"] = before
            tablet.press(node)
            running.until(f"/demond/knob/{knob.name}", 1 - before)
        elif node.kind == "BUTTON" and parts[-1] == "delta":
            before = float(str(running.told("/demond/knob/seed")))
            tablet.press(node)
            running.until("/demond/knob/seed", before + float(message.arguments[0].value))
        elif node.kind == "BUTTON" and message.condition == "RISE":
            tablet.press(node)
            running.until(address, number_or_text(message.arguments[0].value))
        elif node.kind == "TEXT" and address in TYPED:
            tablet.set(node, "text", TYPED[address])
            running.until(address, number_or_text(TYPED[address]))
        else:
            continue
        driven += 1
    assert driven > 2 * len(KNOBS)
    (drop,) = [node for node in tablet.with_address("/demond/scene/drop") if node.kind == "BUTTON"]
    tablet.press(drop)
    running.until("/demond/scene/current", "drop")
    tablet.wire.send("/demond/knob/denoize", ("f", 1.0))
    tablet.wire.until(tablet.take, lambda: "did you mean" in tablet.status, "the refusal is shown")


def test_envelopes_of_reaper_move_knobs_in_14_bits(running: Running) -> None:
    said = running.export("reaper")
    effect = Effect(Path(running.folder, said["files"][0]).read_text())
    with Device(running.server, "REAPER") as reaper:
        running.instrument.until(lambda s: "REAPER:out" in s["midi"]["ports"], "the device is seen")
        assert effect.block() == []
        for share in (0.9, 0.31):
            for slider, knob in zip(effect.sliders, KNOBS, strict=True):
                value = slider.low + share * (slider.high - slider.low)
                effect.values[slider.number] = value if knob.form is Form.FLOAT else float(round(value))
                reaper.send(*effect.block(playing=True))
            for slider, knob in zip(effect.sliders, KNOBS, strict=True):
                running.until(
                    f"/demond/knob/{knob.name}", effect.values[slider.number], (slider.high - slider.low) / 16_383
                )


DAWS = {
    "Ableton": [
        (["b06600", "b0667f"], "denoise", 1.0),
        (["90247f", "902400"], "denoise", 0.7),
        (["b06d00"], "volume_db", -60.0),
    ],
    "Bitwig": [(["b00e00", "b00e40"], "denoise", 64 / 127), (["b06d00"], "ch_g7", 0.0)],
}
"""MIDI that each sends, and what comes of it."""


@pytest.mark.parametrize("port", DAWS)
def test_what_a_daw_sends_plays_its_ready_mapping(running: Running, port: str) -> None:
    with Device(running.server, port) as daw:
        running.instrument.until(lambda s: f"{port}:out" in s["midi"]["ports"], "the device is seen")
        for messages, knob, value in DAWS[port]:
            daw.send(*messages)
            running.until(f"/demond/knob/{knob}", value)


def test_widgets_of_open_stage_control_whose_address_was_left_alone_play_a_ready_mapping(running: Running) -> None:
    wire = touchosc_app.Wire(running.instrument.port)
    wire.send("/fader_1", ("f", 0.25))
    running.until("/demond/knob/denoise", 0.25)
    wire.send("/button_1", ("f", 1.0))
    running.until("/demond/knob/mute", 1)
    wire.send("/button_1", ("f", 0.0))
    running.until("/demond/knob/mute", 0)
    wire.close()
