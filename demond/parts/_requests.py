"""What was asked of the engine, what it plays, and what is on its way. Owned by `demond.parts.engine`.

There is at most one request for each key with the engine and one more that waits for its answer; whoever asks for
something newer meanwhile takes the waiting one's place, and both hear what became of the newer. So a fader that
draws a hundred curves a second costs the engine no more than it can take.

A request with which an engine has died is tried once more, alone, and refused if the engine dies again: one that
cannot be granted must not keep the instrument from coming back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from demond.control import Outcome, RefusedError
from demond.session import Session
from demond.setting import Setting

WAITING_LIMIT = 64
"""Answers that may be waited for."""
_TRIES = 2

Done = Callable[[Outcome], None]


@dataclass(slots=True)
class _Request:
    setting: Setting
    done: list[Done]
    number: int | None = None
    """Its id while the engine works on it."""
    deaths: int = 0
    """Engines that died while they worked on it."""


class Requests:
    """The way of settings from whoever asks to the engine, and back where it refuses."""

    def __init__(self, begin: Session) -> None:
        """`begin` is what the first engine starts with; it is copied."""
        self.played = Session(begin.settings)
        """What the engine has said that it plays: what the next one starts with."""
        self.asked = Session(begin.settings)
        """What was asked for last."""
        self._working: dict[str, _Request] = {}
        self._waiting: dict[str, _Request] = {}
        self._number = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._working

    def add(self, setting: Setting, done: Done) -> None:
        """From now on `setting` is asked for; `done` is called once. Raises `RefusedError` 429."""
        requests = (*self._working.values(), *self._waiting.values())
        if sum(len(request.done) for request in requests) >= WAITING_LIMIT:
            raise RefusedError(429, "rate_limited", f"{WAITING_LIMIT} requests wait for the engine; send fewer")
        self.asked.put(setting)
        key = setting.key
        if key not in self._working:
            self._working[key] = _Request(setting, [done])
        elif key in self._waiting:
            self._waiting[key].setting = setting
            self._waiting[key].done.append(done)
        else:
            self._waiting[key] = _Request(setting, [done])

    def to_send(self) -> list[tuple[int, Setting]]:
        """What the engine is to be sent now, with ids; it counts as sent."""
        requests = list(self._working.values())
        alone = any(request.deaths for request in requests)
        sent = []
        for request in requests:
            if request.number is None:
                self._number += 1
                request.number = self._number
                sent.append((self._number, request.setting))
            if alone:
                break
        return sent

    def answered(self, number: int, outcome: Outcome) -> None:
        """The engine has taken request `number` over or has refused it. Tells whoever asked."""
        for request in list(self._working.values()):
            if request.number == number:
                self._finish(request, outcome)

    def engine_died(self) -> None:
        """What it worked on is to be sent again, or refused."""
        for request in list(self._working.values()):
            if request.number is None:
                continue
            request.number = None
            request.deaths += 1
            if request.deaths >= _TRIES:
                words = f"the engine ended {_TRIES} times while it prepared this; everything stays as it was"
                self._finish(request, Outcome(False, words))

    def forget(self, key: str, configured: Session) -> None:
        """Gives up what is played for `key` in favour of what was configured."""
        if self.asked.get(key) == self.played.get(key):
            self.asked.restore(key, configured.get(key))
        self.played.restore(key, configured.get(key))

    def _finish(self, request: _Request, outcome: Outcome) -> None:
        key = request.setting.key
        if outcome.ok:
            self.played.put(request.setting)
        elif key not in self._waiting:
            self.asked.restore(key, self.played.get(key))
        following = self._waiting.pop(key, None)
        del self._working[key]
        if following is not None:
            self._working[key] = following
        for done in request.done:
            done(outcome)
