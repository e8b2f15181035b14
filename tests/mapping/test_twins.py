"""Which device a port is: two of a kind, one that was away, one that another file describes by now."""

from __future__ import annotations

from pathlib import Path

from demond.mapping import PortIdentity, load_mapping
from tests.mapping.stage import MS, Stage


def twins(folder: Path, match_a: str, match_b: str) -> Stage:
    one = Stage(folder, "controls:\n  fader1: {cc: 0}\n")
    text = (
        f"demond: 1\ndevices:\n  a: {{profile: my/box, match: {match_a}}}\n"
        f"  b: {{profile: my/box, match: {match_b}}}\nmaps:\n"
        "  - {from: a/fader1, to: denoise, takeover: off}\n  - {from: b/fader1, to: feedback, takeover: off}\n"
    )
    (folder / "m.yaml").write_text(text)
    one.mapper.replace(load_mapping([folder / "m.yaml"]))
    return one


def moved_by(one: Stage, port: str) -> str:
    one.control.calls.clear()
    one.now += 1_000 * MS
    one.send(0xB0, 0, 64, port=port)
    return next(iter(one.control.calls[0][0])) if one.control.calls else ""


def test_two_identical_devices_are_told_apart_by_the_usb_socket(tmp_path: Path) -> None:
    one = twins(tmp_path, "{path: 1-1.2}", "{path: 1-1.3}")
    left, right = PortIdentity("box:1", "0944:0117", "1-1.2"), PortIdentity("box:2", "0944:0117", "1-1.3")
    one.mapper.ports([left, right])
    assert (moved_by(one, "box:1"), moved_by(one, "box:2")) == ("denoise", "feedback")
    # Plugged in the other way round, the names change places; the sockets do not.
    one.mapper.ports([PortIdentity("box:2", "0944:0117", "1-1.2"), PortIdentity("box:1", "0944:0117", "1-1.3")])
    assert (moved_by(one, "box:2"), moved_by(one, "box:1")) == ("denoise", "feedback")


def test_without_usb_two_identical_devices_keep_their_numbers_while_one_is_away(tmp_path: Path) -> None:
    one = twins(tmp_path, "{order: 1}", "{order: 2}")
    one.plug("box:1", "box:2")
    assert (moved_by(one, "box:1"), moved_by(one, "box:2")) == ("denoise", "feedback")
    one.plug("box:2")
    assert moved_by(one, "box:2") == "feedback"
    one.plug("box:2", "box:1")
    assert (moved_by(one, "box:1"), moved_by(one, "box:2")) == ("denoise", "feedback")


def test_a_reload_keeps_what_a_device_has_said_so_far(tmp_path: Path) -> None:
    line = "{from: box/knob1, to: denoise, takeover: off}"
    one = Stage(tmp_path, "controls:\n  knob1: {nrpn: 300}\n", line)
    one.send(0xB0, 99, 2)
    one.send(0xB0, 98, 44)
    one.mapper.replace(one.load(line, "{from: 'osc:/x', to: shift}"))
    one.send(0xB0, 6, 127)
    assert one["denoise"] == 1
