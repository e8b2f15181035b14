"""Commands that play the running daemon's knobs, each by the OSC address that a surface would use."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from demond.client import Client, NoAnswerError, Reply
from demond.commands import HOST, PORT, Host, Json, Port, from_daemon, give_up, out, print_json
from demond.knobs import KNOBS, KnobValueError, UnknownKnobError, knob
from demond.osc.codec import Argument


def _names(incomplete: str) -> list[str]:
    return [each.name for each in KNOBS if each.name.startswith(incomplete)]


def set_(
    name: Annotated[str, typer.Argument(help="A knob; `demond knobs` lists them.", autocompletion=_names)],
    value: Annotated[str, typer.Argument(help="A number in the knob's unit, or the name of a choice.")],
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Set a knob: `demond set denoise 0.9`, `demond set guidance_mode self`."""
    try:
        target = knob(name)
        wanted = target.read(value)
        held = target.clamp(wanted)
    except (UnknownKnobError, KnobValueError) as error:
        give_up(error, 2)
    address = f"/demond/knob/{name}"
    # A whole number travels as one, since a float of OSC's would round a seed.
    argument = int(held) if held.is_integer() else held
    _stop_at_error(from_daemon(lambda: Client(host, port).ask(address, argument)))
    if held != wanted:
        out.print(
            f"{name} goes from {target.format(target.minimum)} to {target.format(target.maximum)}; it is {held:g}"
        )


def get(
    names: Annotated[list[str] | None, typer.Argument(help="Knobs; none means all.", autocompletion=_names)] = None,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Tell the present value of knobs: `demond get denoise seed`."""
    try:
        wanted = [knob(name) for name in names or [each.name for each in KNOBS]]
    except UnknownKnobError as error:
        give_up(error, 2)
    client = Client(host, port)
    replies = from_daemon(lambda: [client.ask(f"/demond/knob/{each.name}") for each in wanted])
    told = (_stop_at_error(reply)[0].arguments[0] for reply in replies)
    values = {each.name: value for each, value in zip(wanted, told, strict=True) if isinstance(value, int | float)}
    if as_json:
        print_json(values)
        return
    for each in wanted:
        out.print(f"{each.name:<18} {each.format(values[each.name])}", markup=False)


def _stop_at_error(replies: list[Reply]) -> list[Reply]:
    """`replies`, or the end of the command with what the daemon said against it."""
    for reply in replies:
        if reply.address == "/demond/error":
            give_up(reply.arguments[3])
    return replies


def send(
    address: Annotated[str, typer.Argument(help="An OSC address, such as /demond/knob/denoise.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="Values; none asks for the present one.")] = None,
    host: Host = HOST,
    port: Port = PORT,
) -> None:
    """Send one OSC message to the running daemon and print what it answers."""
    failed = False
    try:
        replies = Client(host, port).ask(address, *(_argument(text) for text in arguments or ()))
    except NoAnswerError as error:
        give_up(error)
    except (ValueError, OSError) as error:
        give_up(error, 2)
    for reply in replies:
        failed |= reply.address == "/demond/error"
        # OSC's floats have 24 bits: seven digits say all there is to say.
        words = [f"{value:.7g}" if isinstance(value, float) else value for value in reply.arguments]
        out.print(reply.address, *words, markup=False, soft_wrap=True)
    raise typer.Exit(1 if failed else 0)


def _argument(text: str) -> Argument:
    """A word of the command line as an OSC argument: a whole number, another number, or a text."""
    try:
        number = float(text)
    except ValueError:
        return text
    return (
        int(text)
        if text.lstrip("+-").isdigit() and abs(number) < 2**31
        else number
        if math.isfinite(number)
        else text
    )
