"""Looks at the machine the way demond will use it and says, line by line, what is right, what is not, and what to do.

Called by `demond doctor`, which prints the checks. It promises to end within five seconds, to try rather than to
guess, to change nothing, to start no JACK server and never to load torch in its own process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import shutil
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from demond import _realtime, native
from demond._orphans import SHM, orphans
from demond.config import NVIDIA_DRIVER

_PATIENCE_SECONDS = 4.0
"""How long the probes may take together."""
_SHM_WANTED = 256 << 20
_SHM_LEAST = 96 << 20
"""A 60 s loop at 192 kHz takes 92 MB."""
_PARTS = ("transformer", "vae", "condition_encoder")
"""The folders of a model that hold weights, in diffusers' layout."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report."""

    name: str
    ok: bool | None
    """True: as it should be. False: demond will not work, or not as it can. None: it works, but read this."""
    detail: str
    fix: str = ""
    """What to do, in one line; empty where nothing needs doing."""


def checks(checkpoint: Path | None = None, osc_port: int = 9600) -> list[Check]:
    """All checks, in a reader's order. `checkpoint` is a model folder to look at besides the one inside."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    probes = {name: _start_probe(name) for name in ("jack", "torch")}
    early = [_python(), _native_callback()]
    machine = [_realtime_threads(), _locked_memory(), _processor(), _shared_memory(), *_leftovers()]
    models = [_model("model inside", _embedded_model())]
    if checkpoint is not None:
        models.append(_model("checkpoint", checkpoint))
    rest = [_osc(osc_port), *_systemd()]
    jack = _finish_probe(probes["jack"], deadline)
    torch = _finish_probe(probes["torch"], deadline)
    return [*early, *_jack(jack), _midi(jack), *machine, *_torch(torch), *models, *rest]


def _start_probe(name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "demond._probes", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"JACK_NO_START_SERVER": "1", "OMP_NUM_THREADS": "1"},
    )


def _finish_probe(probe: subprocess.Popen[str], deadline: float) -> dict[str, Any] | None:
    """What the probe found, or None when it took too long. A probe that broke down says so under `error`."""
    try:
        text, _ = probe.communicate(timeout=max(deadline - time.monotonic(), 0.05))
    except subprocess.TimeoutExpired:
        probe.kill()
        probe.communicate()
        return None
    try:
        facts: dict[str, Any] = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        return {"error": f"its probe ended with status {probe.returncode}"}
    return facts


def _python() -> Check:
    where = sys.prefix if sys.prefix != sys.base_prefix else f"{sys.prefix}, not a virtual environment"
    return Check("Python", True, f"{platform.python_version()} in {where}")


def _native_callback() -> Check:
    if native.available():
        return Check("audio callback", True, "native")
    return Check(
        "audio callback",
        None,
        "in Python, because the C library was not built: good from a period of 256 up",
        "install a C compiler (apt-get install gcc libc6-dev) and install demond again",
    )


def _jack(facts: dict[str, Any] | None) -> list[Check]:
    """The JACK server, and what its settings mean for demond."""
    if facts is None:
        return [
            Check(
                "JACK server",
                False,
                "does not answer: it may be frozen",
                "end it and start it again (systemctl restart jackd, or kill -9 its process)",
            )
        ]
    if facts.get("library") is None:
        error = facts.get("error", "libjack cannot be loaded")
        return [Check("JACK library", False, str(error), "as root: apt-get install jackd2")]
    if not facts.get("running"):
        if _pipewire_runs() and shutil.which("pw-jack"):
            return [
                Check("JACK server", None, "PipeWire runs, but not as JACK here", "start it as: pw-jack demond run")
            ]
        if shutil.which("jackd") is None:
            return [Check("JACK server", False, "none runs, and jackd is missing", "as root: apt-get install jackd2")]
        return [
            Check(
                "JACK server",
                None,
                "none runs; demond run will start a silent one",
                "to hear demond on a sound card, first: jackd -R -d alsa -d hw:0 -r 48000 -p 128",
            )
        ]
    return _running_jack(facts)


def _running_jack(facts: dict[str, Any]) -> list[Check]:
    pipewire = "PipeWire" in str(facts["library"])
    kind = "PipeWire" if pipewire else "jackd"
    rate, period = int(facts["rate"]), int(facts["period"])
    found = [
        Check(
            "JACK server",
            True,
            f"{kind} ({facts['library']}) at {rate} Hz, period {period} ({1000 * period / rate:.1f} ms), "
            f"{facts['load']:.0f} % busy",
        )
    ]
    if not facts["realtime"]:
        fix = (
            "start PipeWire with rtkit installed"
            if pipewire
            else "start jackd with -R, as a user who may use real time"
        )
        found.append(Check("JACK real time", False, "the server runs without real-time priority", fix))
    if period > 512:
        fix = "PIPEWIRE_QUANTUM=128/48000 demond run" if pipewire else "jack_bufsize 128"
        found.append(Check("JACK period", None, f"{period} frames are felt as delay on every knob", fix))
    elif period < 256 and not native.available():
        found.append(
            Check("JACK period", False, f"{period} frames are too few for the Python callback", "jack_bufsize 256")
        )
    if not facts["outputs"]:
        found.append(
            Check(
                "JACK outputs",
                None,
                "the server has no physical outputs",
                "connect by hand: jack_connect demond:out_1 ...",
            )
        )
    if pipewire:
        found.append(
            Check(
                "PipeWire",
                None,
                "it reports no xruns: demond counts skipped cycles instead; its JACK MIDI does not reach demond",
                "read skipped_cycles in `demond status`, and use ALSA for MIDI",
            )
        )
    return found


def _pipewire_runs() -> bool:
    return (Path(os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")) / "pipewire-0").is_socket()


def _midi(jack: dict[str, Any] | None) -> Check:
    sequencer = Path("/dev/snd/seq")
    if os.access(sequencer, os.R_OK | os.W_OK):
        return Check("MIDI", True, "ALSA sequencer")
    if sequencer.exists():
        return Check("MIDI", False, f"{sequencer} may not be opened", "as root: usermod -aG audio YOU; log in again")
    if jack is not None and jack.get("running") and "PipeWire" not in str(jack["library"]):
        return Check("MIDI", True, "through JACK; this machine has no ALSA sequencer")
    return Check(
        "MIDI",
        None,
        "no ALSA sequencer, and no jackd that could carry MIDI; OSC works",
        "as root: modprobe snd-seq (on a machine with sound), or start jackd",
    )


def _realtime_threads() -> Check:
    trial = _realtime.try_realtime()
    if trial.granted:
        return Check("real-time threads", True, "granted (SCHED_FIFO was tried)")
    return Check("real-time threads", False, trial.why, trial.fix)


def _locked_memory() -> Check:
    trial = _realtime.try_memlock()
    if trial.granted:
        return Check("locked memory", True, "granted (it was tried)")
    return Check("locked memory", None, trial.why, trial.fix)


def _processor() -> Check:
    cores = len(os.sched_getaffinity(0))
    governors = set()
    for path in Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"):
        governors.add(path.read_text(encoding="ascii").strip())
    detail = f"{cores} cores" + (f", governor {', '.join(sorted(governors))}" if governors else "")
    if cores < 2:
        return Check(
            "processor", None, detail, "give demond at least two cores, so that audio never waits for the engine"
        )
    if governors - {"performance"}:
        return Check("processor", None, detail, "as root, for a steady clock: cpupower frequency-set -g performance")
    return Check("processor", True, detail)


def _shared_memory() -> Check:
    try:
        room = os.statvfs(SHM)
    except OSError as error:
        return Check("shared memory", False, f"{SHM}: {error.strerror}", f"as root: mount -t tmpfs tmpfs {SHM}")
    free = room.f_bavail * room.f_frsize
    detail = f"{free >> 20} MiB free in {SHM}"
    if free >= _SHM_WANTED:
        return Check("shared memory", True, detail)
    fix = f"as root: mount -o remount,size=1G {SHM}; for a container --shm-size=1g"
    return Check("shared memory", None if free >= _SHM_LEAST else False, detail, fix)


def _leftovers() -> list[Check]:
    """Shared memory of daemons that were killed and could not tidy up."""
    dead = orphans()
    if not dead:
        return []
    detail = f"{len(dead)} segments of shared memory, by demonds that were killed"
    return [Check("left behind", None, detail, f"rm {' '.join(str(path) for path in dead)}")]


def _torch(facts: dict[str, Any] | None) -> list[Check]:
    driver = NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi") is not None
    try:
        installed = version("torch")
    except PackageNotFoundError:
        return [
            Check("torch", False, "not installed", "make run installs the build that fits; or: pip install torch")
        ]
    if facts is None:
        return [
            Check("torch", None, f"{installed}; it took too long to load for a closer look", "run the doctor again")
        ]
    if "error" in facts:
        return [
            Check(
                "torch",
                False,
                f"{installed} cannot be loaded: {facts['error']}",
                "pip install --force-reinstall torch",
            )
        ]
    if facts["gpu"] is not None:
        gpu = f"{facts['gpu']}, compute capability {facts['capability']}"
        memory = f"{facts['free'] / 1e9:.1f} of {facts['total'] / 1e9:.1f} GB free"
        return [Check("torch", True, f"{facts['version']} on {gpu}, {memory}")]
    if not driver:
        return [Check("torch", True, f"{facts['version']} on the CPU: no NVIDIA driver is loaded")]
    if facts["cuda_build"] is None:
        fix = "pip uninstall torch, then make run, which installs the CUDA build"
        return [Check("torch", False, f"{facts['version']} cannot use the GPU: it is the CPU build", fix)]
    fix = "compare nvidia-smi's CUDA version with torch's, and look for CUDA_VISIBLE_DEVICES in the environment"
    detail = f"{facts['version']} (CUDA {facts['cuda_build']}) finds no GPU, though an NVIDIA driver is installed"
    return [Check("torch", False, detail, fix)]


def _embedded_model() -> Path | None:
    """The folder of the model inside. The engine package is located without importing it."""
    spec = importlib.util.find_spec("engine")
    roots = spec.submodule_search_locations if spec else None
    return Path(next(iter(roots))) / "embedded/checkpoint" if roots else None


def _model(name: str, folder: Path | None) -> Check:
    """Whether every part of a model folder is there and whole, by the sizes that its safetensors headers state."""
    fix = "install demond again" if name == "model inside" else "fetch the checkpoint again, or name another folder"
    if folder is None or not folder.is_dir():
        return Check(name, False, f"{folder} is no folder" if folder else "the engine package is missing", fix)
    total = 0
    for part in _PARTS:
        if not (folder / part / "config.json").is_file():
            return Check(name, False, f"{folder / part / 'config.json'} is missing", fix)
        weights = sorted((folder / part).glob("*.safetensors"))
        if not weights:
            return Check(name, False, f"{folder / part} holds no .safetensors", fix)
        for path in weights:
            wrong = _broken(path)
            if wrong is not None:
                return Check(name, False, f"{path} {wrong}", fix)
            total += path.stat().st_size
    return Check(name, True, f"{total / 1e6:.0f} MB, whole, in {folder}")


def _broken(path: Path) -> str | None:
    """What is wrong with a safetensors file: 8 bytes of header length, a JSON header, then exactly its tensors."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            return f"ends after {size} bytes, inside its header"
        try:
            header = json.loads(file.read(length))
            ends = [int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError):
            return "has no safetensors header"
    stated = 8 + length + max(ends, default=0)
    return None if size == stated else f"has {size} bytes and should have {stated}"


def _osc(port: int) -> Check:
    """Whether the port is free, or held by a demond that answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        try:
            end.bind(("127.0.0.1", port))
        except PermissionError:
            return Check(
                "OSC port", False, f"{port} is for root alone", "choose a port from 1024 up: --osc-port 9600"
            )
        except OSError as error:
            taken = error
        else:
            return Check("OSC port", True, f"{port} on 127.0.0.1 is free")
    from demond.client import Client, NoAnswerError

    client = Client(port=port, timeout=0.5)
    try:
        client.ask("/demond/ping")
    except (NoAnswerError, ValueError):
        fix = f"choose another with --osc-port, or see who has it: ss -ulpn sport = :{port}"
        return Check("OSC port", False, f"{port}: {taken.strerror}, and no demond answers there", fix)
    finally:
        client.close()
    return Check("OSC port", True, f"a demond that runs answers on {port}")


def _systemd() -> list[Check]:
    """The units, where systemd runs and has them."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return []
    found = []
    for unit in ("jackd.service", "demond.service"):
        command = ["systemctl", "show", unit, "-p", "LoadState,ActiveState,SubState,NRestarts,StatusText"]
        try:
            text = subprocess.run(command, capture_output=True, text=True, timeout=1, check=False).stdout
        except subprocess.TimeoutExpired:
            return [Check("systemd", None, "systemctl does not answer", "systemctl status")]
        facts = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        if facts.get("LoadState") == "loaded":
            found.append(_unit(unit, facts))
    return found


def _unit(unit: str, facts: dict[str, str]) -> Check:
    state = facts["ActiveState"]
    detail = f"{state} ({facts['SubState']}), {facts['NRestarts']} restarts"
    if facts.get("StatusText"):
        detail += f"; {facts['StatusText']}"
    if state == "failed":
        return Check(unit, False, detail, f"read why: journalctl -u {unit} -n 50; then: systemctl restart {unit}")
    return Check(
        unit, True if state == "active" else None, detail, "" if state == "active" else f"systemctl start {unit}"
    )
