"""The pages about controllers and mappings, made from the profiles and the tables in the code.

`python -m demond.mapping.pages docs` rewrites `docs/controllers/*.md` and the tables in `docs/mapping.md`; with
`--check` it only says whether they are right, which is what the tests ask.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel

from demond.mapping.binding import Mode
from demond.mapping.loader import SHIPPED, available_profiles, load_mapping
from demond.mapping.mapping import Mapping
from demond.mapping.profile import expand, names_in
from demond.mapping.profile_schema import ControlEntry, FeedbackEntry, LedEntry, ProfileFile, RingEntry
from demond.mapping.schema import DeviceEntry, MapEntry, Match, WhenEntry
from demond.mapping.takeover import Takeover
from demond.mapping.transfer import Curve, Encoding
from demond.strict_yaml import parse, read

_DOCUMENTED = re.compile(r'    [A-Z_]+ = "(\w+)"\n    """(.*?)"""', re.DOTALL)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _keys(model: type[BaseModel]) -> str:
    rows = [
        (f"`{info.alias or name}`", " ".join((info.description or "").split()))
        for name, info in model.model_fields.items()
    ]
    return _table(("key", "what it says"), rows)


def _words(words: type[Mode] | type[Takeover] | type[Curve] | type[Encoding]) -> str:
    """The members of an enumeration with the sentences below them in the code."""
    source = Path(sys.modules[words.__module__].__file__ or "").read_text()
    body = source[source.index(f"class {words.__name__}(") :]
    sentences = {name: " ".join(text.split()) for name, text in _DOCUMENTED.findall(body)}
    return _table(("word", "what it does"), [(f"`{word.value}`", sentences.get(word.value, "")) for word in words])


PARTS: dict[str, Callable[[], str]] = {
    "line": lambda: _keys(MapEntry),
    "modes": lambda: _words(Mode),
    "takeovers": lambda: _words(Takeover),
    "curves": lambda: _words(Curve),
    "conditions": lambda: _keys(WhenEntry),
    "device": lambda: _keys(DeviceEntry),
    "match": lambda: _keys(Match),
    "profile": lambda: _keys(ProfileFile),
    "control": lambda: _keys(ControlEntry),
    "encodings": lambda: _words(Encoding),
    "led": lambda: _keys(LedEntry),
    "ring": lambda: _keys(RingEntry),
    "feedback": lambda: _keys(FeedbackEntry),
}
"""The tables of `docs/mapping.md`."""


def filled(text: str) -> str:
    """`text` with each table between `<!-- NAME -->` and `<!-- end -->` made anew. Raises `ValueError`."""
    for name, make in PARTS.items():
        pattern = re.compile(rf"<!-- {name} -->\n.*?<!-- end -->", re.DOTALL)
        made = f"<!-- {name} -->\n{make()}\n<!-- end -->"
        text, count = pattern.subn(lambda _, made=made: made, text)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"there should be one place for the table {name}, there are {count}")
    return text


def controller_page(profile: str) -> str:
    """The page of the controller with that profile: how to set it up, what it has, what it does."""
    path = SHIPPED / "devices" / f"{profile}.yaml"
    document = parse(read(path), path)
    file = document.validate(ProfileFile)
    document.raise_problems()
    assert file is not None  # noqa: S101 - or a problem was raised
    kinds = {name: control.kind.value for name, control in expand(file, document).controls.items()}
    title = path.read_text().splitlines()[0].removeprefix("# ").partition(". ")[0].rstrip(".")
    shows = any(entry.led or entry.ring or entry.follows for entry in file.controls.values())
    lines = [f"# {title}", "", f"Profile `{profile}`. {_sentence(file.setup)}", ""]
    if file.ports:
        globs = ", ".join(f"`{glob}`" for glob in file.ports)
        lines += [f"Known by its port's name: {globs}; any other with `match: {{name: ...}}`.", ""]
    if file.notes:
        lines += [f"**Worth knowing:** {_sentence(file.notes)}", ""]
    shown = "Lamps, rings or motors show what the knobs are." if shows else "demond shows nothing on it."
    lines += [f"{shown} The numbers come from: {_sentence(file.source)}", "", "## Its controls", ""]
    rows = [_row(name, kinds[names_in(name)[0]], entry) for name, entry in file.controls.items()]
    lines += [_table(("controls", "kind", "sends", "shows"), rows), ""]
    for ready in sorted(SHIPPED.glob("*.yaml")):
        mapping = load_mapping([ready])
        if ready.stem != "default" and any(device.profile == profile for device in mapping.devices):
            lines += [f"## Ready to play: `{ready.name}`", "", _performance(mapping), ""]
    return "\n".join(lines)


def _sentence(text: str) -> str:
    return " ".join(text.split())


def _span(numbers: Sequence[int]) -> str:
    if len(numbers) > 2 and list(numbers) == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}–{numbers[-1]}"
    return ", ".join(map(str, numbers))


def _row(name: str, kind: str, entry: ControlEntry) -> tuple[str, str, str, str]:
    sent = ""
    for word in ("cc", "note", "program", "nrpn", "rpn"):
        if (numbers := getattr(entry, word)) is not None:
            sent = f"{word.upper() if word in ('cc', 'nrpn', 'rpn') else word} {_span(numbers)}"
    if entry.bend:
        sent = "pitch bend"
    elif entry.pressure:
        sent = "channel pressure" if entry.pressure == "channel" else f"pressure of keys {_span(entry.pressure.note)}"
    for word in ("sysex", "mmc"):
        if (texts := getattr(entry, word)) is not None:
            sent = f"{word} {', '.join(texts)}"
    if not (entry.sysex or entry.mmc):
        sent += f", channel {_span(entry.channel)}"
    if entry.encoding != "absolute":
        sent += f", {entry.encoding}"
    if entry.bits == 14:
        sent += ", 14 bits"
    shown = [word for word, has in (("lamp", entry.led), ("ring", entry.ring), ("follows", entry.follows)) if has]
    if entry.arrows:
        shown.append(f"arrows at {entry.arrows.up} and {entry.arrows.down}")
    return f"`{name}`", kind, sent, ", ".join(shown)


def _performance(mapping: Mapping) -> str:
    rows = []
    for binding in mapping.bindings():
        what = f"layer {binding.layer}" if binding.layer else ""
        for action in binding.actions:
            knob = action.knob
            if action.reset:
                what = f"{knob.name} to its default"
            elif action.value is not None:
                what = f"{knob.name} = {knob.format(action.value)}"
            elif (action.low, action.high) != (knob.minimum, knob.maximum):
                what = f"{knob.name}, {action.low:g} to {action.high:g}"
            else:
                what = knob.name
        mode = "" if binding.mode is Mode.SET else binding.mode.value
        layer = " or ".join(binding.when.layers) if binding.when is not None else ""
        rows.append((f"`{binding.source.partition('/')[2]}`", what, mode, layer))
    return _table(("control", "does", "how", "in layer"), rows)


def pages(folder: Path) -> dict[Path, str]:
    """Every page as it should be. The text of `mapping.md` around its tables is taken from the file."""
    mapping = folder / "mapping.md"
    made = {mapping: filled(mapping.read_text())}
    for profile in available_profiles():
        made[folder / "controllers" / f"{profile.replace('/', '-')}.md"] = controller_page(profile)
    return made


def main() -> int:
    """The program. Its exit status is 1 when `--check` finds something stale."""
    parser = argparse.ArgumentParser(prog="python -m demond.mapping.pages", description="Rewrite the pages.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true", help="only say whether the pages are right")
    arguments = parser.parse_args()
    stale = [path for path, text in pages(arguments.folder).items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if arguments.check:
            sys.stderr.write(f"{path} is stale; run: python -m demond.mapping.pages {arguments.folder}\n")
        else:
            path.write_text(pages(arguments.folder)[path])
    return int(arguments.check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
