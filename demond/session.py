"""The settings that hold: what a performer has set besides knobs. Used by the daemon and by whoever starts an engine.

What a setting is, `demond.setting` says.
"""

from __future__ import annotations

from collections.abc import Iterable

from demond.setting import (
    DEPTH,
    SLOTS,
    STEPS,
    Depth,
    Prompt,
    SetContext,
    SetCurve,
    SetDepth,
    SetLora,
    SetPath,
    SetPrompt,
    SetSource,
    SetSteps,
    Setting,
)


class Session:
    """The settings that hold, one for each key. The default ones need not be in it."""

    def __init__(self, settings: Iterable[Setting] = ()) -> None:
        """Later ones win."""
        self._settings: dict[str, Setting] = {}
        for setting in settings:
            self.put(setting)

    def put(self, setting: Setting) -> None:
        """From now on `setting` holds."""
        if setting.is_default:
            self._settings.pop(setting.key, None)
        else:
            self._settings[setting.key] = setting

    def get(self, key: str) -> Setting | None:
        """What is set for `key`, or None where the default holds."""
        return self._settings.get(key)

    def restore(self, key: str, setting: Setting | None) -> None:
        """Puts back what :meth:`get` once said of `key`."""
        if setting is None:
            self._settings.pop(key, None)
        else:
            self.put(setting)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All that is not the default."""
        return tuple(self._settings.values())

    def prompt(self, slot: str) -> Prompt:
        """Prompt `a`, `b` or `negative`."""
        setting = self.get(f"prompt/{slot}")
        return setting.prompt if isinstance(setting, SetPrompt) else Prompt()

    def curve(self, name: str) -> tuple[float, ...] | None:
        """The values of a drawn curve."""
        setting = self.get(f"curve/{name}")
        return setting.values if isinstance(setting, SetCurve) else None

    @property
    def curves(self) -> dict[str, tuple[float, ...]]:
        """All drawn curves by name."""
        return {each.name: each.values for each in self.settings if isinstance(each, SetCurve) and each.values}

    @property
    def source(self) -> SetSource:
        """The source."""
        setting = self.get("source")
        return setting if isinstance(setting, SetSource) else SetSource()

    def path(self, key: str) -> str | None:
        """The file of `timbre`, `structure` or `target`, or the folder of `checkpoint`."""
        setting = self.get(key)
        return setting.path if isinstance(setting, SetPath) else None

    @property
    def steps(self) -> int:
        """Denoising steps."""
        setting = self.get("steps")
        return setting.count if isinstance(setting, SetSteps) else STEPS

    @property
    def depth(self) -> Depth:
        """Slots in flight, or `auto`."""
        setting = self.get("depth")
        return setting.count if isinstance(setting, SetDepth) else DEPTH

    @property
    def context(self) -> float:
        """Seconds that a slot covers; 0 is the whole loop."""
        setting = self.get("context")
        return setting.seconds if isinstance(setting, SetContext) else 0.0

    @property
    def loras(self) -> dict[str, SetLora]:
        """All LoRAs that are on, by name."""
        return {each.name: each for each in self.settings if isinstance(each, SetLora)}


_SHOWN = 200
"""Characters of a text that a summary shows."""


def prompts_told(session: Session) -> dict[str, object]:
    """The prompts for the status: each text, and what else is given of it."""
    summary: dict[str, object] = {}
    for slot in SLOTS:
        for name, value in session.prompt(slot).model_dump(exclude_defaults=True).items():
            shown = value[:_SHOWN] + "…" if isinstance(value, str) and len(value) > _SHOWN else value
            summary[slot if name == "text" else f"{slot}_{name}"] = shown
        summary.setdefault(slot, "")
    return summary


def told(session: Session) -> dict[str, object]:
    """Everything but the prompts for the status: paths, numbers, LoRAs with strengths, curves with their points."""
    return {
        "source": session.source.path,
        "silence_s": session.source.silence,
        "timbre": session.path("timbre"),
        "structure": session.path("structure"),
        "target": session.path("target"),
        "checkpoint": session.path("checkpoint"),
        "steps": session.steps,
        "depth": session.depth,
        "context_s": session.context,
        "loras": {name: lora.strength for name, lora in session.loras.items()},
        "curves": {name: len(values) for name, values in session.curves.items()},
    }
