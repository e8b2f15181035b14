"""What the OSC messages of a surface mean to a mapping: positions and presses. Used by the mapper."""

from __future__ import annotations

from demond.control import Origin
from demond.mapping.binding import Binding, Mode
from demond.mapping.cues import FADER
from demond.mapping.lines import surface_address
from demond.mapping.search import Search
from demond.osc.codec import Argument, Impulse, OscError
from demond.osc.namespace import number


def moves(binding: Binding) -> bool:
    """Whether an OSC line takes a position, as a fader sends it."""
    if binding.cue:
        return binding.cue == FADER
    return (
        bool(binding.actions)
        and binding.mode is Mode.SET
        and binding.actions[0].value is None
        and not binding.velocity
    )


def position(address: str, arguments: tuple[Argument, ...]) -> tuple[bool, float | None]:
    """Whether a button that sends `arguments` is pressed, and the number that a fader sends with them.

    The number is None where none was sent. Raises :class:`OscError`.
    """
    if not arguments or arguments[0] is None or isinstance(arguments[0], Impulse):
        return True, None
    if len(arguments) > 1:
        raise OscError(400, "bad_args", address, f"one position is wanted, not {len(arguments)} arguments")
    value = number(address, arguments[0])
    return value >= 0.5, value


def searched(search: Search, address: str, arguments: tuple[Argument, ...], origin: Origin) -> bool:
    """Tells `search` of a message; whether it may be from the control that is searched for. Raises `OscError`."""
    if surface_address(address) or address.endswith("/z"):
        return False
    pressed, travel = position(address, arguments)
    travel = float(pressed) if travel is None else min(max(travel, 0.0), 1.0)
    return search.surface(origin.detail, address, travel, origin.received_ns)
