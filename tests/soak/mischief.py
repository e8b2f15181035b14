"""What is done to the daemon: each act is one that a bad evening has, and none may cost more than itself."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from demond.built_in import PROMPTS
from demond.client import ChangeRefusedError, NoAnswerError
from demond.knobs import KNOBS
from demond.osc.codec import encode
from tests.e2e.instrument import Instrument
from tests.fuzz import datagrams
from tests.midi.device import Device

SOURCES = ("house-120", "lofi-75", "techno-128", "trap-150", "synthwave-100", "ambient-60")
MAPPING = """demond: 1
devices:
  box: {match: {name: "box*"}, controls: {"fader1..8": {cc: 0..7, kind: fader}, pad1: {note: 1, kind: pad}}}
maps:
  - {from: box/fader1, to: denoise, takeover: "off"}
  - {from: box/fader2, to: feedback, smooth: 50ms}
  - {from: box/fader3, to: [shift, volume_db]}
  - {from: box/pad1, to: mute}
  - {from: "osc:/1/fader1", to: denoise}
"""
BROKEN = (
    MAPPING.replace("denoise", "denoize"),
    MAPPING + "  - {from: box/fader9, to: seed}\n",
    MAPPING[:100],
    "\t\0",
    "",
    "demond: 1\ninclude: [box.yaml]\n",
    "a: &a [*a]\n",
)
CALM = (
    ("/demond/source", ("lofi-75",)),
    ("/demond/depth", (2,)),
    ("/demond/steps", (4,)),
    ("/demond/context", (4,)),
    ("/demond/prompt/a/text", ("house, 120 bpm",)),
)
MOVED = ("denoise", "feedback", "shift", "hint_strength", "prompt_blend", "dry_wet")


class Mischief:
    """One who means no good, with dice."""

    def __init__(self, instrument: Instrument, server: str, mapping: Path, dice: random.Random) -> None:
        """`mapping` is the daemon's mapping file, which is rewritten."""
        self._instrument, self._server, self._mapping, self._dice = instrument, server, mapping, dice
        self._device: Device | None = None
        self.acts: tuple[tuple[float, Callable[[], str]], ...] = (
            (10, self.burst),
            (10, self.malformed),
            (6, self.midi),
            (5, self.replug),
            (5, self.morph),
            (4, self.reload),
            (4, self.stream),
            (3, self.subscriber),
            (3, self.finger),
            (2, self.prompt),
            (1, self.source),
            (0.2, self.kill),
        )

    def act(self) -> str:
        """Does something; says what."""
        weights = [weight for weight, _ in self.acts]
        [(_, chosen)] = self._dice.choices(self.acts, weights)
        return chosen()

    def calm(self) -> None:
        """Stops, and puts the daemon into the same state each time, so that what it costs can be compared."""
        client = self._instrument.client
        client.ask("/demond/trigger/panic")
        client.ask("/demond/curve/*", "off")
        for knob in KNOBS:
            client.ask(f"/demond/knob/{knob.name}/reset")
        client.change(*CALM, seconds=90)
        self._instrument.until(lambda s: s["engine"]["idle"], "the loop is up to date once nobody does anything")

    def close(self) -> None:
        """Unplugs what is plugged in."""
        if self._device is not None:
            self._device.__exit__()
            self._device = None

    # -- over OSC -----------------------------------------------------------------------------------------------

    def burst(self) -> str:
        """A thousand values at once, from a client of which nothing was heard before."""
        with self._stranger() as stranger:
            for _ in range(1_000):
                address = f"/demond/knob/{self._dice.choice(MOVED)}"
                stranger.send(encode(address, self._dice.random()))
        return "a burst of values"

    def malformed(self) -> str:
        """What no client sends: noise, what is known to stop servers, and nearly right messages."""
        with self._stranger() as stranger:
            for _ in range(100):
                packet = datagrams.datagram(self._dice)
                if b"/demond/log/" not in packet and b"/demond/checkpoint" not in packet:
                    stranger.send(packet[:60_000])
        return "malformed packets"

    def stream(self) -> str:
        """A TCP client that sends rubbish, or half a message, and is gone."""
        with socket.create_connection(("127.0.0.1", self._instrument.port), 5) as stream:
            message = encode("/demond/subscribe", "/demond//*")
            framed = struct.pack(">i", len(message)) + message
            stream.sendall(self._dice.choice((framed, framed[:7], self._dice.randbytes(300), b"\xc0" * 50)))
        return "a TCP client that is gone"

    def subscriber(self) -> str:
        """A client that wants to hear everything, fast, and is gone."""
        with self._stranger() as stranger:
            stranger.send(encode("/demond/subscribe", "/demond//*", 0, 200.0, 5, "nobundle,text"))
        return "a subscriber that is gone"

    def finger(self) -> str:
        """A finger that is put on a knob by a client that is gone."""
        with self._stranger() as stranger:
            stranger.send(encode(f"/demond/knob/{self._dice.choice(MOVED)}/touch", 1))
        return "a finger that is never lifted"

    def morph(self) -> str:
        """A scene is stored, recalled over some time, held, taken back."""
        ask, name = self._instrument.client.ask, f"s{self._dice.randrange(8)}"
        ask("/demond/scene/store", name)
        ask(f"/demond/knob/{self._dice.choice(MOVED)}", self._dice.random())
        ask("/demond/scene/current", name, self._dice.uniform(0, 5))
        ask("/demond/scene/morph/pause", self._dice.randrange(2))
        if self._dice.random() < 0.5:
            ask("/demond/scene/undo")
        ask(f"/demond/lfo/{self._dice.choice(MOVED)}", *self._dice.choice((("sine", 1.0, "hz", 0.2), ("off",))))
        return "scenes, morphs and LFOs"

    def prompt(self) -> str:
        """Another text, or one inside."""
        text, named = f"house, {self._dice.randrange(60, 180)} bpm", self._dice.choice([*PROMPTS])
        field, said = self._dice.choice((("text", text), ("named", named)))
        return self._changed(f"/demond/prompt/{self._dice.choice('ab')}/{field}", said)

    def source(self) -> str:
        """Another loop, of another length."""
        return self._changed("/demond/source", self._dice.choice(SOURCES))

    def reload(self) -> str:
        """The mapping is read again, and may be broken; the good one is put back."""
        broken = self._dice.random() < 0.6
        self._mapping.write_text(self._dice.choice(BROKEN) if broken else MAPPING)
        said = self._changed("/demond/map/reload")
        self._mapping.write_text(MAPPING)
        return said

    def _changed(self, address: str, *arguments: str) -> str:
        """A slow request, which is to be answered, however."""
        try:
            self._instrument.client.change((address, arguments), seconds=60)
        except ChangeRefusedError:
            return f"{address}, refused"
        except NoAnswerError as error:
            raise AssertionError(f"{address} {arguments} was never answered") from error
        return address

    def _stranger(self) -> socket.socket:
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.connect(("127.0.0.1", self._instrument.port))
        return stranger

    # -- other hands --------------------------------------------------------------------------------------------

    def replug(self) -> str:
        """The controller is unplugged, or plugged in."""
        if self._device is not None:
            self.close()
            return "the controller unplugged"
        self._device = Device(self._server)
        return "the controller plugged in"

    def midi(self) -> str:
        """All faders at once, and a pad."""
        if self._device is None:
            return self.replug()
        faders = (f"b0{self._dice.randrange(8):02x}{self._dice.randrange(128):02x}" for _ in range(500))
        self._device.send(*faders, "90017f", "800100")
        return "a burst of MIDI"

    def kill(self) -> str:
        """The engine or the audio process dies."""
        part = self._dice.choice(("engine", "engine", "audio"))
        self._instrument.kill(part)
        return f"the {part} process killed"
