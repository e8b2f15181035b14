"""Builds one engine: a program of its own, started by `build`, because a failed build spoils its process.

It reads one JSON object (`graph`, `engine`, `capability`, `profile`, `refit`, `library`) from standard input and
answers in lines of JSON on standard output: `{"share": 0.5}` on the way, then `{"built": ...}` or `{"error": ...}`.
It imports neither torch nor the rest of the engine. TensorRT for RTX needs no GPU here, but to make an engine that
can be refitted. What the libraries print goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, TextIO

_RTX = "tensorrt_rtx"
_LAYERS = "Layers:\n"
"""How TensorRT's message begins that lists the layers of an engine."""


def _tell(channel: TextIO, **said: Any) -> None:
    channel.write(json.dumps(said) + "\n")
    channel.flush()


def _capabilities(trt: Any) -> list[str]:
    """Those that this TensorRT builds for, such as 8.9."""
    names = [name for name in trt.ComputeCapability.__members__ if name.startswith("SM")]
    return [f"{int(name[2:-1])}.{name[-1]}" for name in names]


def _monitor(trt: Any, channel: TextIO) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Tells the share of the outermost phase."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.outermost, self.steps = "", 1

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self.outermost, self.steps = name, max(steps, 1)

        def step_complete(self, name: str, step: int) -> bool:
            if name == self.outermost:
                _tell(channel, share=min((step + 1) / self.steps, 1.0))
            return True

        def phase_finish(self, name: str) -> None:
            """Nothing more to tell."""

    return Monitor()


def _log(trt: Any) -> Any:
    class Log(trt.ILogger):  # type: ignore[misc]
        """Complaints go to standard error. The layers, which are listed among a million other words, are kept."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.layers: str | None = None

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                print(f"[E] {message}", file=sys.stderr)
            elif message.startswith(_LAYERS):
                self.layers = message.removeprefix(_LAYERS).partition("\n\n")[0]

    return Log()


def _values(count: int, at: Any) -> dict[str, Any]:
    values = [at(i) for i in range(count)]
    return {each.name: {"shape": list(each.shape), "dtype": each.dtype.name.lower()} for each in values}


def _config(trt: Any, wanted: dict[str, Any], profile: Any, channel: TextIO) -> Any:
    """TensorRT for RTX builds for any capability that it knows, TensorRT for the GPU at hand."""
    said = {
        "profiles": [profile],
        "progress_monitor": _monitor(trt, channel),
        "profiling_verbosity": trt.ProfilingVerbosity.DETAILED,
        "refittable": wanted["refit"],
    }
    if wanted["library"] != _RTX:
        from polygraphy.backend.trt import CreateConfig

        return CreateConfig(**said)
    from polygraphy.backend.tensorrt_rtx import CreateConfigRTX

    major, minor = map(int, wanted["capability"].split("."))
    return CreateConfigRTX(compute_capabilities=[(major, minor)], **said)


def _build(wanted: dict[str, Any], channel: TextIO) -> dict[str, Any]:
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = str(int(wanted["library"] == _RTX))  # read while it is imported
    from polygraphy.backend.trt import Profile, engine_bytes_from_network
    from polygraphy.logger import G_LOGGER
    from polygraphy.mod.trt_importer import lazy_import_trt

    trt = lazy_import_trt()
    G_LOGGER.module_severity = G_LOGGER.WARNING
    if wanted["library"] == _RTX and wanted["capability"] not in _capabilities(trt):
        raise ValueError(
            f"TensorRT for RTX {trt.__version__} builds for compute capability {', '.join(_capabilities(trt))}, "
            f"not {wanted['capability']}"
        )
    profile = Profile()
    for name, (least, usual, most) in wanted["profile"].items():
        profile.add(name, least, usual, most)
    began = time.monotonic()
    log = _log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(wanted["graph"]):
        raise ValueError("; ".join(parser.get_error(i).desc() for i in range(parser.num_errors)))
    values = {
        "inputs": _values(network.num_inputs, network.get_input),
        "outputs": _values(network.num_outputs, network.get_output),
    }
    data = memoryview(engine_bytes_from_network((builder, network, parser), _config(trt, wanted, profile, channel)))
    with open(wanted["engine"], "wb") as file:
        file.write(data)
    return {
        "tensorrt": f"{wanted['library']} {trt.__version__}",
        "seconds": time.monotonic() - began,
        **values,
        "layers": log.layers,
    }


def main() -> None:
    """See the module."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    wanted = json.load(sys.stdin)
    try:
        _tell(channel, built=_build(wanted, channel))
    except Exception as error:  # whatever it is, the parent says it in words
        _tell(channel, error=str(error))
        raise


if __name__ == "__main__":
    main()
