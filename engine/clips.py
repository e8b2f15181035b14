"""The latents of clips: encoded once, then read from a folder.

Called by the session for its source, timbre and structure clips. On a CPU encoding takes longer than the clip lasts,
and a set uses the same few clips every night. An entry is named after what it was made of: the samples, the weights
of the VAE and the kind of device. Several processes may use one folder: entries appear whole, under their name, or
not at all, and one that vanishes or is damaged is made again. A folder that cannot be used is said once, in the log,
and costs nothing but time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakKeyDictionary

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from engine.geometry import CHANNELS, HOP
from engine.recent import Recent, content_of
from engine.source import Audio
from engine.vae import Vae, encode_loop

log = logging.getLogger("engine.clips")

LIMIT = 256 * 2**20
"""Bytes that the entries of a folder may take; a minute of audio takes 0.4 MB."""

_MEMORY = 32 * 2**20
"""Bytes of latents that are kept in memory."""
_FORMAT = b"1"
"""Changes when the way from audio to latents does, so that older entries are not found."""
_ENTRY = re.compile(r"[0-9a-f]{64}\.safetensors")
_PART = ".part"
_ABANDONED = 3_600.0
"""Seconds after which an entry that is still being written is not."""
_NAME = 1_000
"""Characters of a name that are written, the last ones."""
_OVERHEAD = 16_384
"""Bytes of an entry at most, besides the latents."""


class Clips:
    """Latents by content, the ones used last in memory and the others on disk. Any thread may call it."""

    def __init__(self, folder: Path | None, limit: int = LIMIT) -> None:
        """Keeps entries in `folder`, which is made when it is needed, up to `limit` bytes; none without a folder."""
        self._folder, self._limit = folder, limit
        self._recent: Recent[Tensor] = Recent(_MEMORY, lambda latents: latents.nbytes)
        self._weights: WeakKeyDictionary[Vae, bytes] = WeakKeyDictionary()
        self._said = False

    @torch.inference_mode()
    def latents(self, audio: Audio, vae: Vae, name: str) -> Tensor:
        """The latents [T,64] of the loop `audio` [2,T*1920] on the device of `vae`, not to be written to.

        `name` is written into the entry, for people who wonder what it is.
        """
        if vae not in self._weights:
            self._weights[vae] = _content_of_weights(vae)
        device = _device(vae)
        samples = torch.from_numpy(audio)
        parts = (_FORMAT, device.type.encode(), self._weights[vae], content_of(samples))
        key = hashlib.sha256(b" ".join(parts)).hexdigest()

        def found() -> Tensor:
            latents = self._read(key, audio.shape[1] // HOP)
            if latents is not None:
                return latents.to(device)
            latents = encode_loop(vae, samples.to(device))
            self._write(key, latents, name)
            return latents

        return self._recent.get(key, found)

    def _read(self, key: str, frames: int) -> Tensor | None:
        """The entry `key`, or none where there is none that is whole."""
        if self._folder is None:
            return None
        path = self._folder / f"{key}.safetensors"
        try:
            if path.stat().st_size > frames * CHANNELS * 4 + _OVERHEAD:
                return None
            data = path.read_bytes()  # a mapped file would end the process if another shortened it
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(error)
            return None
        try:
            os.utime(path)
        except OSError as error:  # it may be read all the same
            self._say(error)
        try:
            entry = safetensors.torch.load(data)
        except (SafetensorError, KeyError):  # the latter for a kind of number that torch has not
            return None
        latents, digest = entry.get("latents"), entry.get("sha256")
        if latents is None or digest is None or latents.shape != (frames, CHANNELS):
            return None
        whole = digest.dtype == torch.uint8 and digest.numpy().tobytes() == content_of(latents)
        return latents if whole else None

    def _write(self, key: str, latents: Tensor, name: str) -> None:
        if self._folder is None:
            return
        latents = latents.cpu().contiguous()
        digest = torch.frombuffer(bytearray(content_of(latents)), dtype=torch.uint8)
        readable = name[-_NAME:].encode("utf-8", "replace").decode()  # the name of a file may be no text
        data = safetensors.torch.save({"latents": latents, "sha256": digest}, {"name": readable})
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=_PART)
            try:
                with open(handle, "wb") as file:
                    file.write(data)
                os.replace(part, self._folder / f"{key}.safetensors")
            finally:
                Path(part).unlink(missing_ok=True)
            self._trim(self._folder)
        except OSError as error:
            self._say(error)

    def _trim(self, folder: Path) -> None:
        """Removes the entries used longest ago until the rest fits, and what a process left behind half written."""
        entries = []
        for file in folder.iterdir():
            try:
                status = file.lstat()
            except FileNotFoundError:
                continue  # another process was faster
            if _ENTRY.fullmatch(file.name):
                entries.append((status.st_mtime_ns, status.st_size, file))
            elif file.suffix == _PART and time.time() - status.st_mtime > _ABANDONED:
                file.unlink(missing_ok=True)
        used = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if used <= self._limit:
                return
            path.unlink(missing_ok=True)
            used -= size

    def _say(self, error: OSError) -> None:
        if not self._said:
            self._said = True
            log.warning("encoded clips cannot be kept in %s: %s; the music is not affected", self._folder, error)


def _device(vae: Vae) -> torch.device:
    device: torch.device = next(iter(vae.state_dict().values())).device
    return device


def _content_of_weights(vae: Vae) -> bytes:
    """SHA-256 over the names and values of all weights, by as many threads as there are cores."""
    weights = sorted(vae.state_dict().items())
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        digests = pool.map(content_of, (tensor for _, tensor in weights))
        named = [name.encode() + digest for (name, _), digest in zip(weights, digests, strict=True)]
    return hashlib.sha256(b" ".join(named)).digest()
