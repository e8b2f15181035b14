"""Learning over OSC: from the terminal that begins it, and from the phone that accepts it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from demond.config import Osc
from demond.mapping import MappingSource, PortIdentity
from demond.osc.codec import Message, encode
from demond.osc.server import OscServer
from tests.osc.surface import Stage, Surface, eventually

MINE = """demond: 1
devices: {nk2: {profile: korg/nanokontrol2, match: {name: "nano*"}}}
layers: {fine: {}}
maps:
  - {from: nk2/fader1, to: denoise}
  - {from: nk2/solo1, to: mute, tags: [left]}
"""


class Room(Stage):
    """A server whose mapping keeps what it learns."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Osc(port=0), [])
        (folder / "mine.yaml").write_text(MINE)
        self.learned = folder / "state/learned.yaml"
        self.mapping = MappingSource([folder / "mine.yaml"], self.control, learned=self.learned)
        assert self.mapping.load() is None
        self.mapping.ports([PortIdentity("nano:out")])
        self.server = OscServer(self.control, self.mapping, Osc(port=0))

    def sweep(self, number: int = 0) -> None:
        for value in range(0, 120, 10):
            self.mapping.midi("nano:out", [bytes((0xB0, number, value))], time.monotonic_ns())


def play(folder: Path, scene: Callable[[Room, Surface, Surface], Awaitable[None]]) -> None:
    async def run() -> None:
        room = Room(folder)
        await room.server.start()
        try:
            await scene(room, await room.quiet(), await room.quiet())
        finally:
            await room.mapping.lessons.close()
            room.close()

    asyncio.run(run())


def reply(address: str, message: str, status: str = "ok") -> Message:
    return Message("/demond/reply", (address, status, json.dumps({"message": message})))


def test_one_begins_another_accepts_and_both_are_told(tmp_path: Path) -> None:
    async def scene(room: Room, terminal: Surface, phone: Surface) -> None:
        await phone.subscribe("/demond/learn/target")
        assert await terminal.ask("/demond/learn/start", "feedback") == []
        assert await phone.next() == Message("/demond/learn/target", ("feedback",))
        code, slug, _, words = await phone.error("/demond/learn/start", "shift")
        assert (code, slug) == (409, "busy")
        assert "feedback is being learned" in str(words)
        room.sweep()
        candidate = await terminal.next()
        assert candidate.address == "/demond/learn/candidate"
        device, control, count, span, why = candidate.arguments
        assert (device, control, why) == ("nk2", "fader1", "")
        assert count == 12
        assert isinstance(span, float)
        assert 0.8 < span < 0.9
        assert room.control.values["feedback"] == 0
        phone.send(encode("/demond/learn/accept", 1.0))
        line = "- {from: nk2/fader1, to: feedback}"
        answers = {(await phone.next()).address, (await phone.next()).address}
        assert answers == {"/demond/reply", "/demond/learn/target"}
        assert await terminal.next() == Message("/demond/learn/done", ("nk2/fader1/feedback", line))
        assert line in room.learned.read_text()
        assert await phone.ask("/demond/learn/target") == [Message("/demond/learn/target", ("",))]
        terminal.send(encode("/demond/learn/undo"))
        assert await terminal.next() == reply("/demond/learn/undo", line)
        assert line not in room.learned.read_text()

    play(tmp_path, scene)


def test_a_candidate_may_be_named_and_the_line_too(tmp_path: Path) -> None:
    async def scene(room: Room, terminal: Surface, phone: Surface) -> None:
        await terminal.ask("/demond/learn/start", "feedback", "mine", 20.0)
        room.sweep(0)
        room.sweep(1)
        terminal.send(encode("/demond/learn/accept", "nk2/fader1"))
        found = await terminal.until(lambda message: message.address == "/demond/reply")
        said = {message.address: message.arguments for message in found}
        assert said["/demond/learn/done"] == ("mine", "- {from: nk2/fader1, to: feedback, id: mine}")

    play(tmp_path, scene)


def test_it_is_cancelled_and_its_time_is_over(tmp_path: Path) -> None:
    async def scene(room: Room, terminal: Surface, phone: Surface) -> None:
        await terminal.ask("/demond/learn/start", "feedback")
        await phone.ask("/demond/learn/cancel")
        assert await terminal.next() == Message("/demond/learn/cancelled", ("feedback", "it was cancelled"))
        assert (await terminal.error("/demond/learn/cancel"))[0] == 409
        assert (await terminal.error("/demond/learn/accept"))[0] == 409
        await terminal.ask("/demond/learn/start", "feedback", "", 1)
        assert await terminal.next() == Message("/demond/learn/timeout", ("feedback", "nothing was heard of"))
        assert not room.learned.exists()

    play(tmp_path, scene)


def test_an_address_of_a_surface_is_learned_with_the_same_two_messages(tmp_path: Path) -> None:
    async def scene(room: Room, terminal: Surface, phone: Surface) -> None:
        assert (await phone.error("/1/fader3", 0.5))[0] == 404
        await terminal.ask("/demond/learn/start", "feedback")
        for value in (0.0, 0.2, 0.4, 0.6):
            assert await phone.ask("/1/fader3", value) == []
        terminal.send(encode("/demond/learn/accept"))
        await terminal.until(lambda message: message.address == "/demond/learn/done")
        await phone.ask("/1/fader3", 0.5)
        await eventually(lambda: room.control.values["feedback"] > 0.4, "it is in force")

    play(tmp_path, scene)


def test_what_cannot_be_learned_is_refused_in_words(tmp_path: Path) -> None:
    async def scene(room: Room, terminal: Surface, phone: Surface) -> None:
        for arguments, code, words in (
            ((), 400, "a target (s) comes first"),
            ((1,), 400, "a target (s) comes first"),
            (("denoize",), 404, "did you mean 'denoise'"),
            (("layer/fin",), 404, "did you mean 'fine'"),
            (("denoise", "id", 0.1), 400, "1 to 600 seconds"),
            (("denoise", "id", "soon"), 400, "a number is wanted"),
            (("denoise", "id", 10.0, 3), 400, "in this order"),
            (("denoise", "no blanks"), 400, "letters"),
        ):
            refused = await terminal.error("/demond/learn/start", *arguments)
            assert refused[0] == code, arguments
            assert words in str(refused[3]), arguments
        assert (await terminal.error("/demond/learn/target", 1))[1] == "read_only"
        assert room.mapping.lessons.target == ""

    play(tmp_path, scene)


# -- layers and lines ---------------------------------------------------------------------------------------------


def test_a_layer_is_switched_asked_for_and_told(tmp_path: Path) -> None:
    async def scene(room: Room, client: Surface, other: Surface) -> None:
        address = "/demond/layer/fine"
        assert (await other.subscribe("/demond/layer/*")) == {address: (0,)}
        assert await client.ask(address, 1) == []
        assert await other.next() == Message(address, (1,))
        assert room.mapping.layers == {"fine": True}
        assert await client.ask(address) == [Message(address, (1,))]
        client.send(b"/demond/layer/fine\0\0,I\0\0")
        assert await other.next() == Message(address, (0,))
        code, _, _, words = await client.error("/demond/layer/fines", 1)
        assert (code, words) == (404, "no layer is called 'fines'; did you mean 'fine'?")
        assert (await client.error(address, 1, 2))[0] == 400
        assert (await client.error("/demond/subscribe", "/demond/layer/nine"))[0] == 404

    play(tmp_path, scene)


def test_a_line_is_switched_by_its_id_and_does_nothing_then(tmp_path: Path) -> None:
    async def scene(room: Room, client: Surface, other: Surface) -> None:
        address = "/demond/map/nk2/solo1/mute/enable"
        assert (await other.subscribe(address)) == {address: (1,)}
        assert await client.ask(address, 0) == []
        assert await other.next() == Message(address, (0,))
        room.mapping.midi("nano:out", [b"\xb0\x20\x7f"], time.monotonic_ns())
        assert room.control.values["mute"] == 0
        assert await client.ask(address) == [Message(address, (0,))]
        await client.ask(address, True)
        assert await other.next() == Message(address, (1,))
        room.mapping.midi("nano:out", [b"\xb0\x20\x00", b"\xb0\x20\x7f"], time.monotonic_ns())
        assert room.control.values["mute"] == 1
        await client.ask("/demond/map/left/enable", 0)
        assert await other.next() == Message(address, (0,))
        assert await client.ask(address) == [Message(address, (0,))]
        code, _, _, words = await client.error("/demond/map/nk2/solo2/mute/enable", 0)
        assert (code, words) == (404, "no line has the id or tag 'nk2/solo2/mute'; did you mean 'nk2/solo1/mute'?")

    play(tmp_path, scene)


def test_lines_are_listed_and_the_files_checked(tmp_path: Path) -> None:
    async def scene(room: Room, client: Surface, other: Surface) -> None:
        [answer] = await client.ask("/demond/map/list")
        found = json.loads(str(answer.arguments[0]))
        assert (answer.address, found["count"]) == ("/demond/map/list.reply", 2)
        assert found["lines"][0] == {
            "id": "nk2/fader1/denoise",
            "from": "nk2/fader1",
            "to": "denoise",
            "mode": "set",
            "on": True,
            "tags": [],
            "learned": False,
        }
        [answer] = await client.ask("/demond/map/list", "mute")
        assert [line["to"] for line in json.loads(str(answer.arguments[0]))["lines"]] == ["mute"]
        [answer] = await client.ask("/demond/map/list", "", 1)
        assert [line["to"] for line in json.loads(str(answer.arguments[0]))["lines"]] == ["mute"]
        assert (await client.error("/demond/map/list", 1))[0] == 400
        client.send(encode("/demond/map/check"))
        assert (await client.next()).arguments[1] == "ok"
        (tmp_path / "mine.yaml").write_text(MINE + "  - {from: nk2/fadr1, to: shift}\n")
        client.send(encode("/demond/map/check"))
        answer = await client.next()
        assert answer.arguments[1] == "error"
        assert "mine.yaml:7:12: korg/nanokontrol2 has no control 'fadr1'" in str(answer.arguments[2])
        assert room.mapping.error is None

    play(tmp_path, scene)


def test_the_last_message_is_told_with_what_came_of_it(tmp_path: Path) -> None:
    async def scene(room: Room, client: Surface, other: Surface) -> None:
        address = "/demond/midi/last"
        assert await client.ask(address) == [Message(address, ("",))]
        await other.subscribe(address)
        room.mapping.midi("nano:out", [b"\xb0\x20\x7f"], time.monotonic_ns())
        told = json.loads(str((await other.next()).arguments[0]))
        assert (told["source"], told["control"], told["outcome"]) == ("nano:out", "nk2/solo1", "mute = 1")

    play(tmp_path, scene)


def test_triggers_fire_once_for_each_press(tmp_path: Path) -> None:
    async def scene(room: Room, client: Surface, other: Surface) -> None:
        seen = set()
        for _ in range(3):
            await client.ask("/demond/trigger/reseed", 1.0)
            await client.ask("/demond/trigger/reseed", 0.0)
            seen.add(room.control.values["seed"])
        assert len(seen) == 3
        assert await client.ask("/demond/knob/seed/source") == [
            Message("/demond/knob/seed/source", (f"osc {client.name}",))
        ]
        await client.ask("/demond/lfo/shift", "sine", 5.0, "hz")
        await client.ask("/demond/scene/store", "here")
        await client.ask("/demond/knob/denoise", 0.1)
        await client.ask("/demond/scene/current", "here", 100.0)
        await client.ask("/demond/trigger/panic")
        assert room.control.values["mute"] == 1
        assert not room.control.stage.modulators.busy
        assert room.control.stage.position == 1
        await client.ask("/demond/transport/sync", "none")
        assert (await client.error("/demond/trigger/tap"))[0] == 409
        assert (await client.error("/demond/trigger/pan"))[3] == (
            "nothing listens on /demond/trigger/pan; did you mean '/demond/trigger/panic'?"
        )

    play(tmp_path, scene)


def test_who_may_only_set_cannot_learn(tmp_path: Path) -> None:
    async def scene(room: Room, client: Surface, other: Surface) -> None:
        from demond.osc.access import Role

        sender = next(one for one in room.server.clients if one.name == client.name)
        sender.role = Role.SET
        assert (await client.error("/demond/learn/start", "denoise"))[1] == "denied"
        assert (await client.error("/demond/map/check"))[1] == "denied"
        assert await client.ask("/demond/layer/fine", 1) == []

    play(tmp_path, scene)
