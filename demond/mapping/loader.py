"""Mapping files, with their includes and device profiles, to one :class:`Mapping`.

Called at start, at each reload (in a thread of its own) and by `demond check`.

It promises that nothing outside the given folders is read, that includes end, and that every mistake in all the files
is reported together, at its place.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demond.knobs import did_you_mean
from demond.mapping.assembly import layout
from demond.mapping.binding import Binding, Condition
from demond.mapping.lines import bind, surface_address, unknown_control
from demond.mapping.mapping import Device, Mapping
from demond.mapping.profile import Profile, controls_of, expand, messages_of
from demond.mapping.profile_schema import ProfileFile
from demond.mapping.schema import DeviceEntry, MapEntry, MappingFile
from demond.paths import mappings_dir
from demond.scenes.performance import Performance
from demond.scenes.scene import is_name
from demond.strict_yaml import PROBLEM_LIMIT, Document, Problem, YamlError, in_order, parse, read

SHIPPED = mappings_dir()
"""The mappings and device profiles that come with demond."""
DEFAULT = SHIPPED / "default.yaml"
"""What the daemon loads when it is told nothing else."""
FILE_LIMIT = 200
"""How many files one mapping may be made of."""
CHAIN_LIMIT = 20
"""How deep files may include each other."""


class MappingError(YamlError):
    """Mapping files with mistakes."""

    def __init__(self, problems: tuple[Problem, ...], files: tuple[Path, ...]) -> None:
        """`files` are those to watch for a correction."""
        super().__init__(problems)
        self.files = files


def load_mapping(paths: Sequence[Path], roots: Sequence[Path] = (), learned: Path | None = None) -> Mapping:
    """The mapping that `paths` make together, the later ones winning over the earlier ones.

    Files and profiles may lie in the folders of `paths`, in `roots` and in :data:`SHIPPED`, and nowhere else. The
    lines of the file `learned`, which demond writes itself, come last; those that no longer fit are left out with a
    warning. Raises :class:`MappingError` with all problems of all files.
    """
    folders = [*(Path(os.path.abspath(path)).parent for path in paths), *roots, SHIPPED]
    loading = _Loading(list(dict.fromkeys(Path(os.path.realpath(folder)) for folder in folders)))
    for path in paths:
        loading.file(Path(os.path.abspath(path)), (), None)
    if learned is not None:
        loading.learned(learned)
    return loading.result()


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read and judged by itself, for as long as its text stays the same."""

    read: Document
    file: MappingFile | None = None
    profile: Profile | None = None

    def document(self) -> Document:
        """The document, whose problems may be added to."""
        return Document(self.read.name, self.read.root, list(self.read.problems), self.read.broken)


# Of a reload, most files are as they were; reading them again would take most of its time.
@functools.lru_cache(maxsize=FILE_LIMIT)
def _read_mapping(text: bytes, name: str) -> _Read:
    document = parse(text, name)
    return _Read(document, file=document.validate(MappingFile))


@functools.lru_cache(maxsize=FILE_LIMIT)
def _read_profile(text: bytes, name: str) -> _Read:
    document = parse(text, name)
    file = document.validate(ProfileFile)
    return _Read(document, profile=expand(file, document) if file is not None else None)


@dataclass(slots=True)
class _Line:
    """A binding with where it came from."""

    binding: Binding
    file: Path


class _Loading:
    """One run of the loader: what was read so far, and what was wrong with it."""

    def __init__(self, roots: list[Path]) -> None:
        self._roots = roots
        self._problems: list[Problem] = []
        self._files: dict[Path, None] = {}
        self._done: set[Path] = set()
        self._profiles: dict[str, Profile | None] = {}
        """None for a profile with mistakes of its own."""
        self._devices: dict[str, tuple[DeviceEntry, Profile]] = {}
        self._lines: dict[str, _Line] = {}
        """By id."""
        self._of_source: dict[str, set[str]] = {}
        """The ids of a control's lines."""
        self._layers: dict[str, None] = {}
        self._learned: Path | None = None
        self._warnings: list[Problem] = []
        self._performance = Performance()

    def result(self) -> Mapping:
        files = tuple(self._files)
        if self._problems:
            raise MappingError(tuple(in_order(self._problems)), files)
        by_source: dict[str, list[Binding]] = {}
        for line in self._lines.values():
            by_source.setdefault(line.binding.source, []).append(line.binding)
        devices = tuple(_device(name, entry, profile, by_source) for name, (entry, profile) in self._devices.items())
        surfaces = {source[4:]: tuple(lines) for source, lines in by_source.items() if source.startswith("osc:")}
        self._warnings += self._unknown_scenes()
        warnings = tuple(in_order(self._warnings))
        learned = frozenset(one for one, line in self._lines.items() if line.file == self._learned)
        return Mapping(devices, surfaces, tuple(self._layers), self._performance, files, learned, warnings)

    def _unknown_scenes(self) -> list[Problem]:
        """Scenes that lines recall and no file has: they may be stored while playing, or be mistyped."""
        known, found = self._performance.scenes, []
        for line in self._lines.values():
            name = line.binding.cue.removeprefix("scene/")
            if line.binding.cue.startswith("scene/") and is_name(name) and name not in known:
                words = (
                    f"{line.binding.id}: no scene is called {name!r} until one is stored{did_you_mean(name, known)}"
                )
                found.append(Problem(str(line.file), 0, 0, words))
        return found

    # -- files and includes -------------------------------------------------------------------------------------

    def file(self, path: Path, chain: tuple[Path, ...], blame: _Blame | None) -> None:
        """Reads `path`, which the last of `chain` includes, and what it includes in turn, first."""
        self._files[path] = None
        real = Path(os.path.realpath(path))
        if blame is not None and (wrong := self._refused(real, chain)):
            blame.say(wrong)
            return
        if real in self._done:
            return
        self._done.add(real)
        self._files[real] = None
        found = self._parse(path, blame, chain, _read_mapping)
        if found is None:
            return
        document, file = found.document(), found.file
        if file is not None:
            for i, name in enumerate(file.include):
                included = self._find(path, name)
                self.file(included, (*chain, real), _Blame(document, ("include", i)))
            self._take(file, document, real)
        self._problems.extend(document.problems)

    def learned(self, path: Path) -> None:
        """Reads what demond has learned. It is no one's to correct, so what is wrong with it is only warned of."""
        self._files[path] = None
        if not _is_file(path):
            return
        try:
            found = _read_mapping(read(path), str(path))
        except YamlError as error:
            self._warnings += error.problems
            return
        document = found.document()
        self._learned = Path(os.path.realpath(path))
        if found.file is not None:
            self._take(found.file, document, self._learned)
        self._warnings += document.problems

    def _refused(self, real: Path, chain: tuple[Path, ...]) -> str | None:
        if not any(real.is_relative_to(root) for root in self._roots):
            return f"{real} lies outside of the mapping folders {', '.join(map(str, self._roots))}"
        if real in chain:
            circle = " → ".join(self._short(file) for file in (*chain[chain.index(real) :], real))
            return f"the files include each other in a circle: {circle}"
        if len(chain) >= CHAIN_LIMIT:
            return f"files include each other more than {CHAIN_LIMIT} deep"
        if len(self._done) >= FILE_LIMIT:
            return f"a mapping is made of at most {FILE_LIMIT} files"
        return None

    def _find(self, including: Path, name: str) -> Path:
        """The file that `name` stands for: beside the including file, else in one of the folders."""
        places = [including.parent, *self._roots]
        candidates = [Path(os.path.normpath(place / name.replace("\0", ""))) for place in places]
        return next((path for path in candidates if _is_file(path)), candidates[0])

    def _parse(
        self, path: Path, blame: _Blame | None, chain: tuple[Path, ...], reader: Callable[[bytes, str], _Read]
    ) -> _Read | None:
        try:
            return reader(read(path), str(path))
        except YamlError as error:
            if blame is None:
                self._problems.extend(error.problems)
                return None
            by = "" if len(chain) < 2 else f" ({' → '.join(self._short(file) for file in (*chain, path))})"
            blame.say(f"{self._short(path)} {error.problems[0].message}{by}")
            return None

    def _short(self, path: Path) -> str:
        for root in self._roots:
            if path.is_relative_to(root):
                return str(path.relative_to(root))
        return str(path)

    # -- what a file says ---------------------------------------------------------------------------------------

    def _take(self, file: MappingFile, document: Document, path: Path) -> None:
        for name, entry in file.devices.items():
            if name == "osc":
                document.problem(("devices", name), "the name osc is taken: it stands for OSC surfaces")
                continue
            profile = self._described(name, entry, document)
            if profile is not None:
                self._devices[name] = (entry, profile)
        self._layers |= dict.fromkeys(file.layers)
        self._performance = self._performance.with_file(file.scenes, file.recall_safe, file.lfos, document.problem)
        here: dict[tuple[str, Condition | None], int] = {}
        ids: dict[str, int] = {}
        for i, line in enumerate(file.maps):
            if len(document.problems) > PROBLEM_LIMIT:
                return  # no more are shown, and each costs a search for what was meant
            row = document.where(("maps", i))[0]
            binding = self._bind(line, _Blame(document, ("maps", i)), file)
            if binding is None:
                continue
            twice = (binding.source, binding.when)
            if twice in here and not line.also:
                words = f"{line.source} is already mapped in line {here[twice]}; add also: true if both are meant"
                self._warnings.append(Problem(document.name, *document.where(("maps", i, "from")), words))
            if binding.id in ids:
                words = (
                    f"the id {binding.id!r} is already used in line {ids[binding.id]}; give this line one of its own"
                )
                document.problem(("maps", i, "id" if line.id else "from"), words)
                continue
            self._replace(binding, path, keep=line.also)
            here.setdefault(twice, row)
            ids[binding.id] = row

    def _replace(self, binding: Binding, path: Path, keep: bool) -> None:
        """Adds `binding`, in place of another file's line with its id and, unless `keep`, those of its control.

        A line with a condition takes the place of those with the same condition alone.
        """
        out = {binding.id} & self._lines.keys()
        if not keep:
            siblings = (self._lines[one] for one in self._of_source.get(binding.source, ()))
            out |= {line.binding.id for line in siblings if line.file != path and line.binding.when == binding.when}
        for one in out:
            self._of_source[self._lines.pop(one).binding.source].discard(one)
        self._lines[binding.id] = _Line(binding, path)
        self._of_source.setdefault(binding.source, set()).add(binding.id)

    def _bind(self, line: MapEntry, blame: _Blame, file: MappingFile) -> Binding | None:
        source = line.source
        if source.startswith("osc:"):
            wrong = surface_address(source[4:])
            if wrong:
                blame.say(wrong, "from")
                return None
            return bind(line, source, None, self._layers, blame.at)
        device, _, name = source.partition("/")
        if device not in self._devices:
            if device in file.devices:
                return None  # its profile has mistakes, which are reported already
            known = [*self._devices, "osc:"]
            blame.say(f"no device is called {device[:60]!r}{did_you_mean(device[:60], known)}; see devices:", "from")
            return None
        profile = self._devices[device][1]
        control = profile.controls.get(name)
        if control is None:
            blame.say(unknown_control(name, profile.controls, profile.name), "from")
            return None
        return bind(line, source, control, self._layers, blame.at)

    # -- profiles -----------------------------------------------------------------------------------------------

    def _described(self, name: str, entry: DeviceEntry, document: Document) -> Profile | None:
        """What a device is: its profile, with the controls that the mapping itself describes on top."""
        place, match, before = ("devices", name), entry.match, len(document.problems)
        found: Profile | None = Profile(name, "", {})
        if entry.profile is not None:
            found = self._profile(entry.profile, _Blame(document, (*place, "profile")))
        elif not entry.controls:
            document.problem(place, "what is it? Add profile: VENDOR/NAME, or controls: with what it sends")
        if found is None:
            return None
        if not (match.name or match.usb or match.path or found.ports):
            what = f"{entry.profile} says" if entry.profile else "there are"
            document.problem(
                place, f"{what} no names of ports; add match: {{name: ...}}, as `demond ports` lists them"
            )
        blame = _Blame(document, place)
        if entry.controls:
            found = replace(found, controls={**found.controls, **controls_of(entry.controls, blame.at)})
        if isinstance(entry.on_connect, list):
            found = replace(found, on_connect=messages_of(entry.on_connect, blame.at))
        return found if len(document.problems) == before else None

    def _profile(self, name: str, blame: _Blame) -> Profile | None:
        if name in self._profiles:
            return self._profiles[name]
        for root in self._roots:
            candidate = root / "devices" / f"{name}.yaml"
            self._files[candidate] = None
            real = Path(os.path.realpath(candidate))
            if _is_file(candidate) and any(real.is_relative_to(root) for root in self._roots):
                self._profiles[name] = self._read_profile(candidate, name, blame)
                return self._profiles[name]
        known = available_profiles(tuple(self._roots))
        blame.say(f"no device profile is called {name!r}{did_you_mean(name, known)}")
        return None

    def _read_profile(self, path: Path, name: str, blame: _Blame) -> Profile | None:
        found = self._parse(path, blame, (), _read_profile)
        if found is None:
            return None
        document = found.document()
        if found.profile is not None and found.profile.name != name:
            words = f"the file's place calls this profile {name!r}, not {found.profile.name!r}"
            document.problem(("profile",), words)
        self._problems.extend(document.problems)
        return None if document.problems else found.profile


def _device(name: str, entry: DeviceEntry, profile: Profile, by_source: dict[str, list[Binding]]) -> Device:
    match = entry.match
    return Device(
        name,
        profile.name,
        tuple(pattern.lower() for pattern in match.name or profile.ports or ("*",)),
        match.usb,
        match.path,
        match.order,
        profile,
        layout(profile.controls.values()),
        {
            control: tuple(by_source[f"{name}/{control}"])
            for control in profile.controls
            if f"{name}/{control}" in by_source
        },
        entry.on_connect != "keep",
        entry.missing,
    )


@dataclass(frozen=True, slots=True)
class _Blame:
    """A place in a file that a problem is to be reported at."""

    document: Document
    path: tuple[str | int, ...]

    def say(self, message: str, *inside: str | int) -> None:
        self.document.problem((*self.path, *inside), message)

    def at(self, inside: tuple[str | int, ...], message: str) -> None:
        self.document.problem((*self.path, *inside), message)


def available_profiles(roots: tuple[Path, ...] = (SHIPPED,)) -> list[str]:
    """The names of the device profiles in `roots`."""
    return sorted({name for root in roots for name in _profile_names(root / "devices")})


def _profile_names(folder: Path) -> Iterator[str]:
    for path in folder.glob("*/*.yaml"):
        yield str(path.relative_to(folder).with_suffix(""))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the system, say
        return False
