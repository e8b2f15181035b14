"""The messages between the daemon and the processes it starts, and the channel they travel on.

One message is one line of JSON on a socket pair that the daemon made. Every message is a frozen pydantic model with
a literal `type`; a line that is not exactly one of them is refused. Values that change often (knobs, the playhead,
heartbeats) live in shared memory instead; audio never travels here.
"""

from __future__ import annotations

import socket
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from demond.setting import Setting

LIMIT = 1 << 22
"""The longest line in bytes: every curve drawn to the full, and then some. A longer one means that the other side is
broken."""


Backend = Literal["auto", "eager", "graph", "graph-fp8", "tensorrt"]
"""What runs the network, by the engine's names."""


class Message(BaseModel):
    """A frozen model that accepts no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StartEngine(Message):
    """Daemon to engine, once, first: what to load and play, and the shared memory to work on.

    It is composed anew at every start, from the settings that the last engine played, which is how a restarted one
    comes back as it was; knobs it reads from the table.
    """

    type: Literal["start_engine"] = "start_engine"
    loop: str
    knob_table: str
    trace: str
    device: str
    threads: int | None
    backend: Backend
    engines: str
    """The folder of TensorRT engines."""
    cache: str
    """A folder for what is dear to compute again."""
    paces: str
    """A file for what ticks took."""
    knob_ms: float
    """What the depth `auto` keeps to."""
    settings: tuple[Setting, ...]


class Request(Message):
    """Daemon to engine: prepare `setting` off the tick thread and let it hold from between two ticks on.

    Answered by :class:`Done` or :class:`Failed` with the same `id`.
    """

    type: Literal["request"] = "request"
    id: int
    setting: Setting


class Shutdown(Message):
    """Daemon to any process: end now, tidily."""

    type: Literal["shutdown"] = "shutdown"


class Done(Message):
    """Engine to daemon: the request `id` holds from now on. `message` may carry a remark for the user."""

    type: Literal["done"] = "done"
    id: int
    message: str = ""


class Failed(Message):
    """Engine to daemon: the request `id` changed nothing, and why."""

    type: Literal["failed"] = "failed"
    id: int
    message: str


class Progress(Message):
    """Engine to daemon while it loads: `share` (0–1) of `stage` is done. Also its sign of life until it is ready."""

    type: Literal["progress"] = "progress"
    stage: str
    share: float


class Ready(Message):
    """Engine to daemon: the model is loaded. It plays as soon as the audio process knows JACK's rate.

    It is sent again when a request has changed something that it says.
    """

    type: Literal["ready"] = "ready"
    model: str
    backend: str
    device: str
    loop_seconds: float
    depth: int
    steps: int
    advice: str = ""
    """Why the depth was chosen, where it was `auto`."""


class Playing(Message):
    """Engine to daemon: the loop holds music at JACK's rate, and ticks run."""

    type: Literal["playing"] = "playing"
    rate: int


class Fatal(Message):
    """Any process to the daemon: it cannot start, and no restart helps before the user does what `message` says.

    `about` are the beginnings of the keys of the settings that may be to blame.
    """

    type: Literal["fatal"] = "fatal"
    message: str
    about: tuple[str, ...] = ()


class JackState(Message):
    """Audio process to daemon: `connected`, or `waiting` for a server, with what a user should read."""

    type: Literal["jack_state"] = "jack_state"
    state: Literal["connected", "waiting"]
    detail: str


class FollowTransport(Message):
    """Daemon to audio process: say from now on where JACK's transport is, or no longer."""

    type: Literal["follow_transport"] = "follow_transport"
    on: bool


class RollTransport(Message):
    """Daemon to audio process: start JACK's transport, or stop it where it is."""

    type: Literal["roll_transport"] = "roll_transport"
    on: bool


class LeadTransport(Message):
    """Daemon to audio process: be timebase master of JACK's transport, and say this of the beat; or no longer.

    Beat `beat` is heard at `time_ns` (`time.monotonic_ns()`), and others follow at `bpm` while it `rolls`.
    """

    type: Literal["lead_transport"] = "lead_transport"
    on: bool
    beat: float = 0.0
    time_ns: int = 0
    bpm: float = 120.0
    beats_per_bar: float = 4.0
    rolls: bool = True


class TransportLed(Message):
    """Audio process to daemon: whether it is timebase master now, and if it is to be and is not, why."""

    type: Literal["transport_led"] = "transport_led"
    leads: bool
    why_not: str = ""


class TransportPlace(Message):
    """Audio process to daemon: where JACK's transport is, while that is followed.

    The frame that is `seconds` after the transport's beginning is heard at `time_ns` (`time.monotonic_ns()`).
    """

    type: Literal["transport_place"] = "transport_place"
    time_ns: int
    rolling: bool
    moved: bool
    """Whether it was started, stopped or put elsewhere since the last message, and did not just go on."""
    seconds: float
    bpm: float | None = None
    """This and what follows are None while no client of JACK is timebase master."""
    beat: float | None = None
    """Beats since the beginning, in beats of the master's meter."""
    beats_per_bar: float | None = None


class MidiPort(Message):
    """One open MIDI input: its name, and where the system tells, the USB id (`0944:0117`) and socket (`1-1.2`)."""

    name: str
    usb: str = ""
    path: str = ""
    answers: bool = False
    """Whether there is an output to the same device."""


class MidiPorts(Message):
    """MIDI process to daemon: the input ports that are open now."""

    type: Literal["midi_ports"] = "midi_ports"
    backend: str
    ports: tuple[MidiPort, ...]


class MidiIn(Message):
    """MIDI process to daemon: raw messages (hex) from `port` in their order, fetched at `time.monotonic_ns()`."""

    type: Literal["midi_in"] = "midi_in"
    port: str
    data: tuple[str, ...]
    time_ns: int


class MidiOut(Message):
    """Daemon to MIDI process: raw messages (hex) for the device whose input has the name `port`."""

    type: Literal["midi_out"] = "midi_out"
    port: str
    data: tuple[str, ...]


AnyMessage = Annotated[
    StartEngine
    | Request
    | Shutdown
    | Done
    | Failed
    | Progress
    | Ready
    | Playing
    | Fatal
    | JackState
    | FollowTransport
    | RollTransport
    | TransportPlace
    | LeadTransport
    | TransportLed
    | MidiPorts
    | MidiIn
    | MidiOut,
    Field(discriminator="type"),
]
_adapter: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


class ChannelClosedError(ConnectionError):
    """The process at the other end is gone."""


class Channel:
    """One end of the line between the daemon and a process. Not for two threads at once in one direction."""

    def __init__(self, end: socket.socket) -> None:
        """Takes over `end`, a connected stream socket, and makes it non-blocking."""
        end.setblocking(False)
        self._socket = end
        self._buffer = b""
        self._unsent = b""

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        """The end that a started process inherited as file descriptor `fd`."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """For `select` and event loops."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Sends one message without waiting: what the socket cannot take now goes out with the next call.

        Raises :class:`ChannelClosedError` when nobody listens any more, or has not read for :data:`LIMIT` bytes.
        """
        self._unsent += message.model_dump_json().encode() + b"\n"
        self.flush()
        if len(self._unsent) > LIMIT:
            raise ChannelClosedError("the other side has stopped reading")

    def flush(self) -> bool:
        """Sends what is waiting as far as the socket takes it; True when nothing is left."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        except OSError as error:
            raise ChannelClosedError(str(error)) from error
        return True

    def receive(self) -> list[AnyMessage]:
        """All messages that have arrived; empty when there is none. Never blocks.

        Raises :class:`ChannelClosedError` at the end of the line.
        """
        closed = False
        try:
            while chunk := self._socket.recv(1 << 16):
                self._buffer += chunk
            closed = True
        except BlockingIOError:
            pass
        except OSError:
            closed = True
        *lines, self._buffer = self._buffer.split(b"\n")
        if len(self._buffer) > LIMIT:
            raise ChannelClosedError(f"a message longer than {LIMIT} bytes")
        if closed and not lines:
            raise ChannelClosedError("the other side has closed the line")
        return [_adapter.validate_json(line) for line in lines]

    def close(self) -> None:
        """Hangs up. May be called twice."""
        self._socket.close()
