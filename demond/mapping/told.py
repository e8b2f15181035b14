"""Mapping lines as they are listed: what moves what, and whether it is on. Used by the mapping source for OSC."""

from __future__ import annotations

from collections.abc import Iterator

from demond.mapping.binding import Binding
from demond.mapping.situation import Situation


def lines(situation: Situation, part: str = "") -> Iterator[dict[str, object]]:
    """The lines whose id has `part` in it, or that have it as a tag, as plain JSON values."""
    for binding in situation.mapping.bindings():
        if part in binding.id or part in binding.tags:
            yield {
                "id": binding.id,
                "from": binding.source,
                "to": target(binding),
                "mode": binding.mode.value,
                "on": situation.enabled(binding),
                "tags": list(binding.tags),
                "learned": binding.id in situation.mapping.learned,
            }


def target(binding: Binding) -> str:
    """What a line moves, as it may stand after `to:`; several knobs with commas between."""
    if binding.layer:
        return f"layer/{binding.layer}"
    return binding.cue or ", ".join(
        f"{action.knob.name}/reset" if action.reset else action.knob.name for action in binding.actions
    )


def names(situation: Situation) -> list[str]:
    """All ids and tags."""
    found: dict[str, None] = {}
    for binding in situation.mapping.bindings():
        found |= dict.fromkeys((binding.id, *binding.tags))
    return list(found)


def is_on(situation: Situation, name: str) -> bool | None:
    """Whether all lines with the id or tag `name` are on; None if there are none."""
    found = [situation.enabled(b) for b in situation.mapping.bindings() if name == b.id or name in b.tags]
    return all(found) if found else None
