"""Commands about controllers and mappings: what their messages do, and help with writing the files."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from demond.client import Client, NoAnswerError
from demond.commands import HOST, PORT, Host, Json, Port, err, from_daemon, give_up, out, print_json
from demond.knobs import INDEX
from demond.strict_yaml import YamlError

LOOK_SECONDS = 0.05
"""How often `monitor` asks for new messages."""


def _line(message: dict[str, Any]) -> str:
    """One line: port, bytes, control, the line of the mapping, and what came of it."""
    control = message["control"] or "no control"
    line = f" [{message['line']}]" if message["line"] else ""
    return f"{message['source']}  {message['message']}  {control}{line}  →  {message['outcome']}"


def monitor(
    count: Annotated[int, typer.Option(min=0, help="End after so many messages; 0 goes on until Ctrl-C.")] = 0,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one message a line.")] = False,
) -> None:
    """Show every control message as it comes: device, control, line of the mapping, value or reason."""
    client = Client(host, port)
    try:
        number = client.messages(0)["count"]
        shown = 0
        while not count or shown < count:
            found = client.messages(number)
            missed = found["count"] - number - len(found["messages"])
            number = found["count"]
            if missed > 0 and not as_json:
                out.print(f"… {missed} messages came too fast to be shown", markup=False)
            for message in found["messages"][: count - shown if count else None]:
                text = json.dumps(message) if as_json else _line(message)
                out.print(text, markup=False, soft_wrap=True)
                shown += 1
            time.sleep(LOOK_SECONDS)
    except NoAnswerError as error:
        give_up(error)


def why(
    name: Annotated[str, typer.Argument(help="A control (nk2/fader1), a knob (denoise) or a port.")] = "",
    count: Annotated[int, typer.Option(min=1, max=100, help="How many of the last messages.")] = 5,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Say what came of the last messages, and why: of all, or of those of one control, knob or port."""
    found = from_daemon(lambda: Client(host, port).messages(0))
    messages = [message for message in found["messages"] if not name or _concerns(message, name)][-count:]
    source = ""
    if name in INDEX and not as_json:
        [reply] = from_daemon(lambda: Client(host, port).ask(f"/demond/knob/{name}/source"))
        source = str(reply.arguments[0])
    if source:
        out.print(f"{name} was set last by {source}", markup=False, soft_wrap=True)
    if as_json:
        print_json(messages)
    for message in [] if as_json else messages:
        out.print(_line(message), markup=False, soft_wrap=True)
    if not messages and not source:
        about = f" of {name}" if name else ""
        give_up(
            f"no message{about} is among the last ones. Move the control: if `demond monitor` stays silent, its port "
            "is not connected (`demond ports`)"
        )


def _concerns(message: dict[str, Any], name: str) -> bool:
    return (
        name in (message["control"], message["source"])
        or name in message["line"].split()
        or name in message["outcome"].replace("=", " ").replace(":", " ").split()
    )


def fmt(
    files: Annotated[
        list[Path], typer.Argument(help="Mapping files, device profiles or a settings file; - is stdin to stdout.")
    ],
    check: Annotated[bool, typer.Option("--check", help="Only say which files would change.")] = False,
) -> None:
    """Lay out YAML files in demond's own style; comments stay, and so does what the files mean."""
    from demond.mapping.layout import formatted
    from demond.strict_yaml import read

    changed = wrong = 0
    for path in files:
        piped = str(path) == "-"
        try:
            old = sys.stdin.buffer.read() if piped else read(path)
            new = formatted(old, "stdin" if piped else str(path))
        except YamlError as error:
            wrong += 1
            err.print(str(error), soft_wrap=True, markup=False)
            continue
        if piped and not check:
            sys.stdout.write(new)
            continue
        if new.encode() == old:
            continue
        changed += 1
        if check:
            out.print(f"{path} would be laid out anew", soft_wrap=True, markup=False)
        else:
            path.write_text(new, encoding="utf-8")
            out.print(f"{path}: laid out anew", soft_wrap=True, markup=False)
    raise typer.Exit(2 if wrong else int(check and changed > 0))


def schema(
    kind: Annotated[Literal["mapping", "profile", "settings"], typer.Argument(help="What kind of file.")] = "mapping",
) -> None:
    """Print the JSON Schema of mappings, device profiles or settings, for editors that complete and check.

    `demond schema > mapping.json`, and `# yaml-language-server: $schema=mapping.json` as the first line of a mapping.
    """
    from demond.mapping.json_schema import json_schema

    print_json(json_schema(kind))
