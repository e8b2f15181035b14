"""The daemon's settings: a YAML file, and the command line on top of it.

Read once at start by `demond run` and `demond render`. Whatever is not said has a default that works on a machine
without a GPU, without a sound card and without a controller, and opens nothing to the network.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationInfo,
    field_validator,
)

from demond import strict_yaml
from demond.built_in import CLIPS
from demond.knobs import UnknownKnobError
from demond.messages import Backend
from demond.scenes.follower import FASTEST_BPM, SLOWEST_BPM
from demond.scenes.transport import BEATS_PER_BAR, DEFAULT_BPM, METER_LIMIT
from demond.session import Session
from demond.setting import (
    CURVE_LIMIT,
    DEPTH,
    LONGEST_SECONDS,
    LORA_LIMIT,
    LORA_STRENGTH,
    STEPS,
    STEPS_LIMIT,
    Depth,
    NamedPrompt,
    Prompt,
    Seconds,
    SetCheckpoint,
    SetContext,
    SetDepth,
    SetLora,
    SetPrompt,
    SetSource,
    SetSteps,
    SetStructure,
    SetTarget,
    SetTimbre,
    Setting,
    Text,
    curve,
    curve_range,
    lora_name,
)


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Jack(_Section):
    """How demond meets the JACK server."""

    client: Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[^:\s/]+$")] = "demond"
    server: str | None = None
    """The server's name; none means JACK's default."""
    connect: Literal["auto", "none"] | list[str] = "auto"
    """`auto` connects to the first two physical outputs; a list names two ports."""
    start_server: bool = True
    """Start jackd with the dummy backend when no server runs."""
    rate: Annotated[int, Field(ge=8_000, le=192_000, multiple_of=25)] = 48_000
    period: Annotated[int, Field(ge=16, le=4096)] = 256
    """Rate and period of a server that demond starts itself."""

    @field_validator("period")
    @classmethod
    def _power_of_two(cls, period: int) -> int:
        if period & (period - 1):
            raise ValueError("must be a power of two, such as 128 or 256")
        return period


def _ip_address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("must be an IP address, such as 127.0.0.1") from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ValueError(f"must be a network, such as 192.168.1.0/24, or an address: {error}") from None


May = Literal["read", "set", "command"]
"""What a sender may do, each including those before it."""


class Allowed(_Section):
    """Who may send from beyond the loopback, and what."""

    network: Annotated[str, AfterValidator(_network)]
    may: May = "command"


class OscClient(_Section):
    """A surface that is told of changes from the start, whether or not it was ever heard."""

    name: Annotated[str, Field(min_length=1, max_length=32)]
    host: Annotated[str, AfterValidator(_ip_address)]
    port: Annotated[int, Field(ge=1, le=65_535)]
    """Where it listens."""
    rate: Annotated[float, Field(ge=1, le=200)] = 30.0
    """Hz."""
    units: Literal["real", "norm"] = "real"
    bundles: bool = True
    text: bool = False
    wide: bool = False
    echo: Literal["corrected", "always", "never"] = "corrected"
    subscribe: list[str] = ["/demond//*"]
    may: May = "command"


class OscQuery(_Section):
    """OSCQuery: the addresses and values over HTTP and WebSocket, for programs that find demond by themselves."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 9601
    announce: bool = True
    """Say over zeroconf (mDNS) where OSC and OSCQuery are, and hear where others receive OSC."""


class Osc(_Section):
    """Where OSC is received, and from whom."""

    bind: Annotated[str, AfterValidator(_ip_address)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9600
    """UDP and TCP."""
    allow: list[Annotated[str, AfterValidator(_network)] | Allowed] = []
    """Networks that may send when `bind` is not the loopback, such as `192.168.1.0/24`."""
    clients: list[OscClient] = []
    """They may send, too."""
    query: OscQuery | None = None
    """None leaves OSCQuery off."""
    allow_pattern_triggers: bool = False
    """Whether an address pattern may fire triggers."""

    @property
    def networks(self) -> list[Allowed]:
        """All who may send."""
        named = [each if isinstance(each, Allowed) else Allowed(network=each) for each in self.allow]
        return [*named, *(Allowed(network=client.host, may=client.may) for client in self.clients)]


class Midi(_Section):
    """Where MIDI comes from."""

    backend: Literal["auto", "alsa", "jack", "none"] = "auto"


class Silence(_Section):
    """A source of silence: music from the prompts alone."""

    silence: Seconds


class Lora(_Section):
    """A LoRA file and how strongly it is applied."""

    file: Path
    strength: Annotated[float, Field(ge=-LORA_STRENGTH, le=LORA_STRENGTH)] = 1.0


def _prompt_of_text(prompt: object) -> object:
    return {"text": prompt} if isinstance(prompt, str) else prompt


def _plain_prompt(prompt: NamedPrompt | Prompt) -> Prompt:
    return prompt.prompt if isinstance(prompt, NamedPrompt) else prompt


Said = Annotated[
    NamedPrompt | Prompt,
    BeforeValidator(_prompt_of_text, json_schema_input_type=str | NamedPrompt | Prompt),
    AfterValidator(_plain_prompt),
]
"""A prompt, for which its text alone may stand, or the name of one inside."""


NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
"""Is there while the kernel has an NVIDIA driver loaded."""


def usual_depth(device: str) -> int:
    """The slots in flight where nothing is said of them, on an `engine.device`; nothing is measured for it.

    More slots than cores give no more music and make a change last longer (PERFORMANCE.md, "What did not help").
    """
    if device.startswith("cuda") or (device == "auto" and NVIDIA_DRIVER.exists()):
        return DEPTH
    return min(DEPTH, os.cpu_count() or 1)


class Engine(_Section):
    """What plays, until a performer asks for something else."""

    checkpoint: Path | None = None
    """A folder in diffusers' layout; none is the model inside."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    backend: Backend = "auto"
    """What runs the network; `auto` is `graph` on a GPU where it works, else `eager`."""
    engine_folder: Path | None = None
    """TensorRT engines; none is `engines` in the user's cache folder for demond."""
    depth: Depth | None = None
    """Slots in flight; none is four, or on a CPU as many as it has cores if those are fewer. `auto` measures at the
    start what suits the machine.
    """
    knob_ms: Annotated[float, Field(gt=0, le=10_000)] = 250.0
    """Milliseconds from a shared knob to the ear that the depth `auto` keeps to where it can."""
    steps: Annotated[int, Field(ge=1, le=STEPS_LIMIT)] = STEPS
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """CPU threads of a tick; none lets the engine choose."""
    source: Path | Silence | None = None
    """A WAV or FLAC file to play with, or the name of a clip inside, such as `lofi-75`; none is the first of them."""
    timbre: Path | None = None
    """A clip whose sound the music takes."""
    structure: Path | None = None
    """A clip whose rhythm and harmony the music follows instead of the source's."""
    target: Path | None = None
    """A clip that source_lock draws to instead of the source."""
    context: Annotated[float, Field(ge=0, le=LONGEST_SECONDS)] = 0.0
    """Seconds of the loop that a slot covers; 0 is the whole loop."""
    prompt_a: Said = Prompt(text="synthwave, bright, driving, 120 bpm")
    prompt_b: Said = Prompt(text="ambient, dark, spacious, 120 bpm")
    negative: Text = ""
    """What guidance steers away from."""
    loras: Annotated[list[Lora], Field(max_length=LORA_LIMIT)] = []
    lora_folder: Path | None = None
    """Where LoRAs are found by their name."""
    curves: dict[str, Annotated[list[FiniteFloat], Field(min_length=1, max_length=CURVE_LIMIT)]] = {}
    """Knobs drawn over the loop, each in its unit."""
    cache: Path | None = None
    """A folder for encoded clips; none is `demond` in the user's cache folder."""

    @field_validator("curves")
    @classmethod
    def _known(cls, curves: dict[str, list[float]]) -> dict[str, list[float]]:
        for name in curves:
            try:
                curve_range(name)
            except UnknownKnobError as error:
                raise ValueError(str(error)) from None
        return curves

    def session(self) -> Session:
        """These settings as what a performer could have set."""
        source = self.source
        settings: list[Setting] = [
            SetCheckpoint(path=_text(self.checkpoint)),
            SetDepth(count=usual_depth(self.device) if self.depth is None else self.depth),
            SetSteps(count=self.steps),
            SetSource(silence=source.silence) if isinstance(source, Silence) else SetSource(path=_text(source)),
            SetTimbre(path=_text(self.timbre)),
            SetStructure(path=_text(self.structure)),
            SetTarget(path=_text(self.target)),
            SetContext(seconds=self.context),
            SetPrompt(slot="a", prompt=self.prompt_a),
            SetPrompt(slot="b", prompt=self.prompt_b),
            SetPrompt(slot="negative", prompt=Prompt(text=self.negative)),
        ]
        for lora in self.loras:
            settings.append(SetLora(name=lora_name(str(lora.file)), path=str(lora.file), strength=lora.strength))
        settings += [curve(name, values) for name, values in self.curves.items()]
        return Session(settings)


class Tempo(_Section):
    """The beat at the start; `/demond/transport/` changes it while demond plays."""

    bpm: Annotated[float, Field(ge=SLOWEST_BPM, le=FASTEST_BPM)] = DEFAULT_BPM
    meter: Annotated[int, Field(ge=1, le=METER_LIMIT)] = BEATS_PER_BAR
    """Beats of a bar."""
    sync: Literal["midi", "jack", "tap", "none"] = "midi"
    """Who may say the tempo: MIDI clock or JACK's transport while it does, and else taps and numbers."""
    start_stop: bool = True
    """Whether the beat starts and stops with the clock or the transport that leads it."""
    lead: bool = False
    """Whether JACK's transport follows the beat; not with sync `jack`."""

    @field_validator("lead")
    @classmethod
    def _leads_or_follows(cls, lead: bool, info: ValidationInfo) -> bool:
        if lead and info.data.get("sync") == "jack":
            raise ValueError("is for a sync other than jack: the beat cannot follow JACK's transport and lead it")
        return lead


class Config(_Section):
    """The whole file."""

    jack: Jack = Jack()
    osc: Osc = Osc()
    midi: Midi = Midi()
    engine: Engine = Engine()
    tempo: Tempo = Tempo()
    mappings: list[Path] | None = None
    """Mapping files; none loads the ready ones of every known controller."""
    roots: list[Path] | None = None
    """Folders below which OSC may name files; none are those of the files named here, and ~/Music."""
    state: Literal["keep", "forget"] = "keep"
    """Whether what a performer sets outlives the daemon."""


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def default_path() -> Path | None:
    """The settings file that is read when none is named: the user's own, else the machine's, else none."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return next(
        (path for path in (home / "demond/demond.yaml", Path("/etc/demond/demond.yaml")) if path.exists()), None
    )


def load(path: Path | None) -> Config:
    """The settings of `path`, or all defaults. Raises `strict_yaml.YamlError` with file:line:col for each problem.

    Relative paths in the file are meant from the file's own folder.
    """
    if path is None:
        return Config()
    config = strict_yaml.load(path, Config)
    base = path.resolve().parent

    def placed(named: Path) -> Path:
        return named if str(named) in CLIPS else base / named.expanduser()

    engine = config.engine
    files = {
        name: placed(named)
        for name in ("checkpoint", "source", "timbre", "structure", "target", "lora_folder", "engine_folder", "cache")
        if isinstance(named := getattr(engine, name), Path)
    }
    loras = [lora.model_copy(update={"file": placed(lora.file)}) for lora in engine.loras]
    return config.model_copy(
        update={
            "engine": engine.model_copy(update={**files, "loras": loras}),
            "mappings": config.mappings and [placed(mapping) for mapping in config.mappings],
            "roots": config.roots and [placed(root) for root in config.roots],
        }
    )
