"""The daemon's settings: a YAML file, and the command line on top of it.

Read once at start by `demond run` and `demond render`. Whatever is not said has a default that works on a machine
without a GPU, without a sound card and without a controller, and opens nothing to the network.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from demond import strict_yaml


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class Osc(_Section):
    """Where OSC is received, and from whom."""

    bind: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9600
    allow: list[str] = []
    """Networks that may send when `bind` is not the loopback, such as `192.168.1.0/24`."""

    @field_validator("bind")
    @classmethod
    def _address(cls, bind: str) -> str:
        try:
            return str(ipaddress.ip_address(bind))
        except ValueError:
            raise ValueError("must be an IP address, such as 127.0.0.1") from None

    @field_validator("allow")
    @classmethod
    def _networks(cls, allow: list[str]) -> list[str]:
        try:
            return [str(ipaddress.ip_network(network)) for network in allow]
        except ValueError as error:
            raise ValueError(f"must be networks such as 192.168.1.0/24: {error}") from None


class Midi(_Section):
    """Where MIDI comes from."""

    backend: Literal["auto", "alsa", "jack", "none"] = "auto"


class Engine(_Section):
    """What plays."""

    checkpoint: Path | None = None
    """A folder in diffusers' layout; none is the model inside."""
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")] = "auto"
    depth: Annotated[int, Field(ge=1, le=8)] = 4
    steps: Annotated[int, Field(ge=1, le=64)] = 8
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    """CPU threads of a tick; none lets the engine choose."""
    source: Path | None = None
    """A WAV or FLAC file to play with; none is the clip inside."""
    prompt_a: Annotated[str, Field(max_length=4096)] = "synthwave, bright, driving, 120 bpm"
    prompt_b: Annotated[str, Field(max_length=4096)] = "ambient, dark, spacious, 120 bpm"


class Config(_Section):
    """The whole file."""

    jack: Jack = Jack()
    osc: Osc = Osc()
    midi: Midi = Midi()
    engine: Engine = Engine()
    mappings: list[Path] | None = None
    """Mapping files; none loads the ready ones of every known controller."""


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
    engine = config.engine.model_copy(
        update={
            "checkpoint": config.engine.checkpoint and base / config.engine.checkpoint,
            "source": config.engine.source and base / config.engine.source,
        }
    )
    mappings = config.mappings and [base / mapping for mapping in config.mappings]
    return config.model_copy(update={"engine": engine, "mappings": mappings})
