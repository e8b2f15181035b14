"""What the daemon says to whoever started it. `demond.terminal` says it in words; tests may listen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from demond.daemon import Daemon


class Presenter(Protocol):
    """How what happens is shown to whoever started the daemon."""

    def progress(self, stage: str, share: float) -> None:
        """`share` (0–1) of `stage` is done."""

    def playing(self, daemon: Daemon) -> None:
        """Sound comes out, for the first time or again after the engine was replaced."""

    def note(self, text: str) -> None:
        """One sentence on a choice the daemon made, or on something that changed."""
