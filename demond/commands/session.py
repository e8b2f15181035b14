"""Commands for what is set besides knobs: prompts, curves, the source and other clips, LoRAs, the size of the ring.

Each does what its OSC address does. Without a value it tells the present one; with one it returns when the music has
it, or says why it was refused.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated

import typer

from demond import built_in
from demond.built_in import CLIPS, PROMPTS, UnknownNameError, prompt_text
from demond.client import ChangeRefusedError, Client
from demond.commands import HOST, PORT, Host, Json, Port, from_daemon, give_up, out, print_json
from demond.knobs import CURVES, UnknownKnobError, read_number
from demond.osc.codec import Argument
from demond.osc.namespace import FIELDS
from demond.osc.settings import OFF
from demond.setting import AUTO, CURVE_LIMIT, SLOTS, curve_range

Nothing = Annotated[bool, typer.Option("--none", help="Take it away again.")]


def _clips(incomplete: str) -> list[str]:
    """The loops inside and the files here that begin so."""
    folder, _, name = incomplete.rpartition("/")
    files = sorted(Path(f"{folder}/" if "/" in incomplete else ".").glob(f"{glob.escape(name)}*"))
    return [*(name for name in CLIPS if name.startswith(incomplete)), *(str(file) for file in files)]


def _prompts(incomplete: str) -> list[str]:
    return [name for name in PROMPTS if name.startswith(incomplete)]


File = Annotated[
    str | None,
    typer.Argument(
        help="A file, or a loop inside such as lofi-75; without it, the present one is told.", autocompletion=_clips
    ),
]
Inside = Annotated[bool, typer.Option("--list", help="List those inside; needs no daemon.")]


def _slots(incomplete: str) -> list[str]:
    return [slot for slot in SLOTS if slot.startswith(incomplete)]


def _curves(incomplete: str) -> list[str]:
    return [name for name in CURVES if name.startswith(incomplete)]


def prompt(
    slot: Annotated[
        str | None, typer.Argument(help="a, b or negative; none tells all.", autocompletion=_slots)
    ] = None,
    text: Annotated[str | None, typer.Argument(help="What the music should be.")] = None,
    lyrics: Annotated[str | None, typer.Option(help="What is sung; an empty text is nothing.")] = None,
    language: Annotated[str | None, typer.Option(help="Of the lyrics: en, de, ja.")] = None,
    bpm: Annotated[float | None, typer.Option(help="Tempo; 0 leaves it to the text.")] = None,
    key: Annotated[str | None, typer.Option(help="Such as 'a minor'.")] = None,
    time_signature: Annotated[str | None, typer.Option(help="Such as 3/4.")] = None,
    named: Annotated[
        str | None, typer.Option(help="A text inside, by its name, such as neon.", autocompletion=_prompts)
    ] = None,
    inside: Inside = False,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Say what the music should be: `demond prompt a "house, bright" --bpm 124`, `demond prompt a --named neon`."""
    if inside:
        _print(dict(PROMPTS), as_json)
        return
    if slot is not None and slot not in SLOTS:
        give_up(f"there are prompts a, b and negative, not {slot!r}", 2)
    given = dict(zip(("text", *FIELDS), (text, lyrics, language, bpm, key, time_signature), strict=True))
    if named is not None:
        if text is not None:
            give_up("a prompt has a text or the name of one, not both", 2)
        try:
            given["text"] = prompt_text(named)
        except UnknownNameError as error:
            give_up(error, 2)
    messages = [
        (f"/demond/prompt/{slot}/{field}", (value,))
        for field, value in given.items()
        if isinstance(value, str | float)
    ]
    if messages and slot is None:
        give_up("say which prompt: a, b or negative", 2)
    client = Client(host, port)
    if messages:
        _change(client, as_json, *messages)
        return
    told = {
        f"{each} {field}": _told(client, f"/demond/prompt/{each}/{field}")[0]
        for each in ([slot] if slot else SLOTS)
        for field in (("text",) if each == "negative" else ("text", *FIELDS))
    }
    _print({name: value for name, value in told.items() if value or name.endswith("text")}, as_json)


def source(
    file: File = None,
    silence: Annotated[float | None, typer.Option(help="Seconds of silence: music from the prompt alone.")] = None,
    none: Annotated[bool, typer.Option("--none", help="The first loop inside.")] = False,
    inside: Inside = False,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Play another loop: `demond source lofi-75`, `demond source loops/one.wav`, `demond source --silence 30`."""
    if inside:
        _print(dict(built_in.told()["sources"]), as_json)
        return
    client = Client(host, port)
    if silence is not None:
        _change(client, as_json, ("/demond/source/silence", (silence,)))
    elif file is None and not none and not as_json:
        [seconds] = _told(client, "/demond/source/silence")
        [path] = _told(client, "/demond/source")
        out.print(f"{seconds:g} s of silence" if seconds else path or "the clip inside", markup=False, soft_wrap=True)
    else:
        _path(client, "/demond/source", file, none, as_json, "the clip inside")


def timbre(
    file: File = None, none: Nothing = False, host: Host = HOST, port: Port = PORT, as_json: Json = False
) -> None:
    """Take the sound of another clip; the knob timbre_strength says how much."""
    _path(Client(host, port), "/demond/timbre", file, none, as_json, "none")


def structure(
    file: File = None, none: Nothing = False, host: Host = HOST, port: Port = PORT, as_json: Json = False
) -> None:
    """Follow the rhythm and harmony of another clip; the knob hint_strength says how strictly."""
    _path(Client(host, port), "/demond/structure", file, none, as_json, "that of the source")


def target(
    file: File = None, none: Nothing = False, host: Host = HOST, port: Port = PORT, as_json: Json = False
) -> None:
    """Lock to another clip; the knob source_lock says how firmly."""
    _path(Client(host, port), "/demond/target", file, none, as_json, "the source")


def checkpoint(
    folder: Annotated[str | None, typer.Argument(help="A model folder; without it, the present one is told.")] = None,
    none: Annotated[bool, typer.Option("--none", help="The model inside.")] = False,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Play another model."""
    _path(Client(host, port), "/demond/checkpoint", folder, none, as_json, "the model inside")


def steps(
    count: Annotated[int | None, typer.Argument(help="Without it, the present number is told.")] = None,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Set the denoising steps of each result: more is finer, fewer is sooner heard."""
    _number(Client(host, port), "/demond/steps", count, as_json)


def depth(
    count: Annotated[str | None, typer.Argument(help="1 to 8, or auto; without it, the present one is told.")] = None,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Set the slots in flight: more is a higher rate of results, fewer a faster tick; auto is what suits here."""
    client = Client(host, port)
    if count is not None:
        _change(client, as_json, ("/demond/depth", (count if count == AUTO else _read(count),)))
        return
    [told] = _told(client, "/demond/depth")
    if as_json:
        print_json(told)
    else:
        out.print(told)


def context(
    seconds: Annotated[float | None, typer.Argument(help="0 is the whole loop; none tells the present.")] = None,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Set how much of the loop a slot covers: shorter is faster."""
    _number(Client(host, port), "/demond/context", seconds, as_json)


def curve(
    name: Annotated[
        str | None, typer.Argument(help="A knob, or initial_noise; none lists what is drawn.", autocompletion=_curves)
    ] = None,
    values: Annotated[
        list[str] | None, typer.Argument(help="Numbers in the knob's unit, first bar to last; or off.")
    ] = None,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Draw a knob over the loop: `demond curve protect 1 1 0 0` keeps its first half, `demond curve protect off`."""
    client = Client(host, port)
    if name is None:
        drawn = from_daemon(client.status)["session"]["curves"]
        _print(drawn if as_json else {each: f"{count} points" for each, count in drawn.items()}, as_json)
        return
    try:
        curve_range(name)
        numbers: list[Argument] = [text if text == OFF else _read(text) for text in values or []]
    except UnknownKnobError as error:
        give_up(error, 2)
    if len(numbers) > CURVE_LIMIT:
        give_up(f"a curve may have {CURVE_LIMIT} numbers, not {len(numbers)}", 2)
    if numbers:
        _change(client, as_json, (f"/demond/curve/{name}", numbers))
        return
    told = _told(client, f"/demond/curve/{name}")
    if as_json:
        print_json(None if told == (OFF,) else told)
    else:
        out.print(*(f"{value:.7g}" if isinstance(value, float) else value for value in told), soft_wrap=True)


def lora(
    which: Annotated[str | None, typer.Argument(help="A name or a file; none lists those that are on.")] = None,
    strength: Annotated[str | None, typer.Argument(help="A number, 1 for a file; or off.")] = None,
    host: Host = HOST,
    port: Port = PORT,
    as_json: Json = False,
) -> None:
    """Apply a LoRA: `demond lora tape.safetensors 0.8`; then by name: `demond lora tape 0.4`, or `tape off`."""
    client = Client(host, port)
    if which is None:
        _print(from_daemon(client.status)["session"]["loras"], as_json)
        return
    is_file = which.endswith(".safetensors") or "/" in which
    if strength == OFF:
        name = Path(which).stem if is_file else which
        _change(client, as_json, (f"/demond/lora/{name}/strength", (OFF,)))
    elif is_file:
        given = [] if strength is None else [_read(strength)]
        _change(client, as_json, ("/demond/lora/load", (_named(which), *given)))
    elif strength is not None:
        _change(client, as_json, (f"/demond/lora/{which}/strength", (_read(strength),)))
    else:
        _print({which: _told(client, f"/demond/lora/{which}/strength")[0]}, as_json)


def _path(client: Client, address: str, file: str | None, none: bool, as_json: bool, nothing: str) -> None:
    if file is not None or none:
        _change(client, as_json, (address, ("" if file is None or none else _named(file),)))
        return
    [path] = _told(client, address)
    if as_json:
        print_json({"path": path or None})
    else:
        out.print(path or nothing, markup=False, soft_wrap=True)


def _named(file: str) -> str:
    """A file that is here by its whole path; any other as it was typed, for the daemon to look up below its roots,
    or to know for the name of a loop inside.
    """
    path = Path(file).expanduser()
    if file in CLIPS:
        return file
    return str(path.absolute()) if path.exists() else file


def _number(client: Client, address: str, value: float | None, as_json: bool) -> None:
    if value is not None:
        _change(client, as_json, (address, (value,)))
        return
    [told] = _told(client, address)
    if as_json:
        print_json(told)
    else:
        out.print(f"{told:g}")


def _read(text: str) -> float:
    """A number of the command line; what is none ends the command."""
    number = read_number(text)
    if number is None:
        give_up(f"a number is wanted, or the word {OFF}, not {text!r}", 2)
    return number


def _told(client: Client, address: str) -> tuple[Argument, ...]:
    """What the daemon answers to the question for `address`."""
    [reply] = from_daemon(lambda: client.ask(address))
    if reply.address == "/demond/error":
        give_up(reply.arguments[3])
    return reply.arguments


def _change(client: Client, as_json: bool, *messages: tuple[str, list[Argument] | tuple[Argument, ...]]) -> None:
    """Asks for changes and waits until the music has them."""
    try:
        remarks = from_daemon(lambda: client.change(*messages))
    except ChangeRefusedError as error:
        if as_json:
            print_json({"ok": False, "message": str(error)})
            raise typer.Exit(1) from None
        give_up(error)
    if as_json:
        print_json({"ok": True, "message": " ".join(remarks)})
        return
    for remark in remarks:
        out.print(remark, markup=False, soft_wrap=True)


def _print(values: dict[str, object], as_json: bool) -> None:
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        out.print(f"{name:<18} {value}", markup=False, soft_wrap=True)
