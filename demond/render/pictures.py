"""`python -m demond.render.pictures`: renders every sound of docs/sounds.md by its command and draws its spectrogram.

Called by `make pictures`. Every picture carries the command and the weights that it was made with, so that a test can
tell a picture that is out of date.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile
import torch

from demond.sounds import COVERS, FOLDER, SOURCES, Sound
from engine import embedded


def weights() -> str:
    """A fingerprint of the model inside."""
    digest = hashlib.sha256()
    for file in sorted(embedded.CHECKPOINT.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def draw(sound: Sound, folder: Path, made_with: str) -> Path:
    """Renders `sound` as its command does and writes its picture into `folder`."""
    from engine.embedded.gate.picture import save_spectrogram

    with tempfile.TemporaryDirectory(prefix="demond-pictures-") as scratch:
        out = Path(scratch) / f"{sound.name}.flac"
        command = [sys.executable, "-m", "demond.render", *sound.arguments, "--out", str(out)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        audio, _ = soundfile.read(out, dtype="float32")
    picture = folder / sound.picture.name
    save_spectrogram(torch.from_numpy(audio.T.copy()), picture, {"command": sound.command, "weights": made_with})
    return picture


def main() -> None:
    """All of them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made_with = weights()
    for sound in (*SOURCES, *COVERS):
        picture = draw(sound, FOLDER, made_with)
        print(f"{picture.name}: {picture.stat().st_size / 1024:.0f} KB  {sound.command}", flush=True)


if __name__ == "__main__":
    main()
