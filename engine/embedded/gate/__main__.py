"""`python -m engine.embedded.gate`: is the built-in model good enough to ship?

Prints every measure with what was got (in brackets the generator's own music, or what the row says) and what the
gate asks for, and ends with status 1 when a gate is missed. 160 requests take about a quarter of an hour on
two cores; `--requests 16` gives a first idea.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from engine import embedded
from engine.embedded.gate.player import Player
from engine.embedded.gate.requests import requests
from engine.embedded.gate.rows import all_rows
from engine.model.checkpoint import CheckpointError


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0 when all gates are passed, 1 when one is missed, 2 for a checkpoint that cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m engine.embedded.gate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=160, help="8 to 160 (default 160); a multiple of 8 is fair")
    parser.add_argument("--covers", type=int, help="how many of them are covered too (default: 64 at the most)")
    parser.add_argument("--checkpoint", type=Path, default=embedded.CHECKPOINT, help="default: the one inside")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--pictures", type=Path, help="folder for spectrograms of one clip of each style")
    asked = parser.parse_args(arguments)
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)  # as the engine runs a slot
    wanted = requests(max(8, asked.requests))
    covers = max(8, min(asked.covers or 64, len(wanted)))
    try:
        player = Player.load(asked.checkpoint, torch.device(asked.device))
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return 2
    rows, heard = [], dict[str, Tensor]()
    if not asked.json:
        print(f"{'measure':62} {'got':34} gate", flush=True)
    with torch.inference_mode():
        for row, audio in all_rows(player, wanted, covers):
            rows.append(row)
            heard.update(audio)
            if not asked.json:
                print(row, flush=True)
    if asked.json:
        print(json.dumps({"requests": len(wanted), "rows": [asdict(row) for row in rows]}, indent=1))
    if asked.pictures:
        _pictures(heard, asked.pictures)
    return 1 if any(row.passed is False for row in rows) else 0


def _pictures(heard: dict[str, Tensor], folder: Path) -> None:
    try:
        from engine.embedded.gate.picture import save_spectrogram
    except ImportError:
        raise SystemExit("--pictures needs Pillow: pip install 'demond[dev]'") from None
    folder.mkdir(parents=True, exist_ok=True)
    for name, clips in heard.items():
        for number, clip in enumerate(clips[:8], 1):
            save_spectrogram(clip, folder / f"{name}-{number}.png")


if __name__ == "__main__":
    sys.exit(main())
