"""The daemon as OSC and mappings see it, with knobs and settings kept in memory: for tests of what calls it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from demond.control import Origin, Outcome, RefusedError
from demond.feed import Feed
from demond.knobs import KNOBS, knob
from demond.scenes.stage import Stage
from demond.session import Session
from demond.setting import Prompt, SetDepth, SetPrompt, SetSteps, Setting


@dataclass
class MemoryControl:
    """A `demond.control.Control` that stores what it is given. It refuses the prompt `refuse me`."""

    values: dict[str, float] = field(default_factory=lambda: {knob.name: knob.default for knob in KNOBS})
    session: Session = field(
        default_factory=lambda: Session(
            [
                SetPrompt(slot="a", prompt=Prompt(text="synthwave")),
                SetPrompt(slot="b", prompt=Prompt(text="ambient")),
                SetSteps(count=8),
                SetDepth(count=4),
            ]
        )
    )
    calls: list[tuple[dict[str, float], Origin]] = field(default_factory=list)
    """Each `set_knobs`, after clamping."""
    on_change: Callable[[Mapping[str, float]], None] = lambda changes: None
    """Told of each change, as the daemon tells the mapping."""
    feed: Feed = field(default_factory=Feed)
    clock: Callable[[], int] = time.monotonic_ns
    held: Callable[[str], bool] = lambda name: False
    latency: float = 0.0

    def __post_init__(self) -> None:
        self.stage = Stage(self, self.clock, lambda: self.latency, self.held)

    def value(self, name: str) -> float:
        knob(name)
        return self.values[name]

    def set_knobs(self, changes: Mapping[str, float], origin: Origin) -> None:
        clamped = {name: knob(name).clamp(value) for name, value in changes.items()}
        self.values.update(clamped)
        self.calls.append((clamped, origin))
        self.on_change(clamped)
        self.stage.touched(clamped, origin)
        self.feed.tell([f"knob/{name}" for name in clamped])

    def change(self, setting: Setting, done: Callable[[Outcome], None]) -> None:
        if isinstance(setting, SetPrompt) and setting.prompt.text == "refuse me":
            raise RefusedError(503, "engine_not_ready", "the engine is still loading")
        self.session.put(setting)
        self.feed.tell([setting.key])
        done(Outcome(True, ""))

    def status(self) -> dict[str, object]:
        return {"state": "playing", "knobs": dict(self.values)}

    def trace(self, count: int) -> list[dict[str, object]]:
        return [{"knobs": changes, "origin": origin.detail} for changes, origin in self.calls[-count:]]
