"""Looks at what may take long or hang, in a process that can be killed: `python -m demond._probes jack|torch`.

Started by :mod:`demond.doctor`, which must not load torch and must not wait for a frozen JACK server. Prints one line
of JSON.
"""

from __future__ import annotations

import json
import sys


def look_at_jack() -> dict[str, object]:
    """The server that a client of ours would meet. Opens a client for a moment; never starts a server."""
    try:
        import jack
    except OSError as error:
        return {"library": None, "error": str(error)}
    facts: dict[str, object] = {"library": jack.version_string()}
    try:
        client = jack.Client("demond-doctor", no_start_server=True)
    except jack.JackOpenError as error:
        return facts | {"running": False, "error": str(error)}
    try:
        return facts | {
            "running": True,
            "rate": client.samplerate,
            "period": client.blocksize,
            "realtime": client.realtime,
            "load": client.cpu_load(),
            "outputs": [port.name for port in client.get_ports(is_physical=True, is_audio=True, is_input=True)],
        }
    finally:
        client.close()


def look_at_torch() -> dict[str, object]:
    """The installed torch and the GPU it can use."""
    try:
        import torch
    except (ImportError, OSError) as error:
        return {"error": str(error)}
    facts: dict[str, object] = {"version": torch.__version__, "cuda_build": torch.version.cuda, "gpu": None}
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        free, total = torch.cuda.mem_get_info()
        facts |= {"gpu": torch.cuda.get_device_name(), "capability": f"{major}.{minor}", "free": free, "total": total}
    return facts


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"jack": look_at_jack, "torch": look_at_torch}[sys.argv[1]]()) + "\n")
