"""The settings that a scene asks for: prompts, curves, steps. Used by `demond.scenes.stage`.

Unlike a knob, a setting is heard only when the engine has made it ready, and may be refused. So each is asked for by
itself, what holds already is not asked for again, and whoever recalled the scene is answered once, for all of them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from demond.control import Control, Outcome, RefusedError
from demond.scenes.scene import setting_of
from demond.setting import Setting

log = logging.getLogger(__name__)

Done = Callable[[Outcome], None]


def nobody(outcome: Outcome) -> None:
    """For recalls of which nobody wants to hear."""


class Requests:
    """What scenes asked for."""

    def __init__(self, control: Control) -> None:
        """Nothing was asked for yet."""
        self._control = control
        self._asked: dict[str, tuple[Setting, Setting]] = {}
        """What was asked for last and what came of it, by key."""
        self.problem = ""
        """Why a part of the last request was refused; empty when nothing was."""

    def make(self, scene: str, settings: tuple[Setting, ...], done: Done) -> None:
        """Asks for those of `settings` that do not hold yet; `done` is called when all are answered."""
        self.problem = ""
        wanted = [setting for setting in settings if not self._holds(setting)]
        left = len(wanted)
        if not wanted:
            done(Outcome(True, ""))
        refused: list[str] = []

        def answered(outcome: Outcome) -> None:
            nonlocal left
            left -= 1
            if not outcome.ok:
                refused.append(outcome.message)
                log.warning("of the scene %s: %s", scene, outcome.message)
            if left == 0:
                self.problem = "; ".join(refused)
                done(Outcome(not refused, self.problem))

        for setting in wanted:
            try:
                self._control.change(setting, answered)
            except RefusedError as error:
                answered(Outcome(False, f"{setting.key}: {error}"))
            else:
                self._asked[setting.key] = (setting, setting_of(self._control.session, setting.key))

    def _holds(self, setting: Setting) -> bool:
        """Whether it is what was asked for last; a path that was looked up is the one that was given."""
        present = setting_of(self._control.session, setting.key)
        return present == setting or self._asked.get(setting.key) == (setting, present)
