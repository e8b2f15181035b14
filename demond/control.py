"""What a source of control (OSC, MIDI through a mapping) may ask of the daemon.

The daemon implements :class:`Control`; `demond.osc` and `demond.mapping` call it, always from the daemon's one
event loop, and never hold on to what it returns. No call blocks: work that takes time answers through a callback.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from demond.feed import Feed
from demond.session import Session
from demond.setting import Setting

if TYPE_CHECKING:
    from demond.scenes.stage import Stage


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change came from: named in traces, and used to tell a client apart from the others."""

    kind: str
    """`osc`, `midi`, `start` or `cli`; `scene`, `lfo` or `gesture` for what the stage moves."""
    detail: str
    """The sender: `127.0.0.1:53211`, or `nk2/fader1`."""
    received_ns: int
    """`time.monotonic_ns()` when the message reached the daemon's machine."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request that took time ended."""

    ok: bool
    message: str
    """One sentence for the user; empty when all went well and there is nothing to say."""


class RefusedError(ValueError):
    """A request that cannot be granted: an HTTP-like code, a slug for programs, a sentence for people."""

    def __init__(self, code: int, slug: str, message: str) -> None:
        """`code` and `slug` are those of the `/demond/error` table."""
        super().__init__(message)
        self.code, self.slug = code, slug


class Control(Protocol):
    """The daemon, as its control sources see it."""

    @property
    def feed(self) -> Feed:
        """Tells of every change, whoever made it."""

    @property
    def stage(self) -> Stage:
        """What moves knobs besides hands."""

    def value(self, knob: str) -> float:
        """The present value of a knob in its own unit."""

    def set_knobs(self, changes: Mapping[str, float], origin: Origin) -> None:
        """Clamps and stores all `changes` so that one tick sees all of them or none.

        Raises `UnknownKnobError` or `KnobValueError` before anything is stored.
        """

    @property
    def session(self) -> Session:
        """What was asked for last besides knobs; to be read, and not to be held on to."""

    def change(self, setting: Setting, done: Callable[[Outcome], None]) -> None:
        """Asks for `setting`; `done` is called once, when the engine plays it or has refused it.

        Paths are looked up below the configured roots. Raises :class:`RefusedError`, and nothing has changed then.
        """

    def status(self) -> dict[str, object]:
        """What `/demond/status` answers: plain JSON values in sections."""

    def trace(self, count: int) -> list[dict[str, object]]:
        """The last `count` control changes, newest last, each with the times of its way to the ear."""
