"""Commands that play the running daemon, each by the OSC address that a surface would use."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from demond.client import Client, NoAnswerError
from demond.commands import HOST, PORT, Host, Port, give_up, out
from demond.osc.codec import Argument


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
