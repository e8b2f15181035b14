"""The store of encoded clips: what is found again, what is made again, and folders that cannot be used."""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from engine import embedded
from engine.clips import Clips
from engine.vae import encode_loop, load_vae


class Averages(nn.Module):
    """A VAE whose frame is the mean of its samples, 64 times; it counts what it encodes."""

    reach = encoder_reach = 1

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((64,), gain))
        self.encoded = 0

    def encode(self, audio: Tensor) -> Tensor:
        self.encoded += 1
        return audio.mean(0).unflatten(0, (-1, 1_920)).mean(1)[:, None] * self.gain


def noise(seed: int, frames: int = 10) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((2, frames * 1_920)).astype(np.float32)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


@pytest.fixture
def vae() -> Averages:
    return Averages()


def test_a_clip_is_encoded_once_for_all_that_share_a_folder(tmp_path: Path, vae: Averages) -> None:
    folder = tmp_path / "cache" / "clips"
    clips = Clips(folder)
    first = clips.latents(noise(1), vae, "one.wav")
    assert torch.equal(first, encode_loop(Averages(), torch.from_numpy(noise(1))))
    assert clips.latents(noise(1), vae, "one.wav") is first
    assert torch.equal(Clips(folder).latents(noise(1), vae, "again.wav"), first)
    assert torch.equal(Clips(folder).latents(noise(1), Averages(), "one.wav"), first)
    assert vae.encoded == 1
    (entry,) = entries(folder)
    with safe_open(entry, "pt") as file:
        assert file.metadata() == {"name": "one.wav"}


@pytest.mark.parametrize("name", ["/nowhere/\udcff.wav", "\U0001f3b5" * 5_000, '"\\\n\0'])
def test_a_clip_may_have_any_name(tmp_path: Path, vae: Averages, name: str) -> None:
    first = Clips(tmp_path).latents(noise(1), vae, name)
    assert torch.equal(Clips(tmp_path).latents(noise(1), vae, name), first)
    assert vae.encoded == 1


def test_other_samples_or_other_weights_are_another_entry(tmp_path: Path, vae: Averages) -> None:
    clips, louder = Clips(tmp_path), Averages(2.0)
    one = clips.latents(noise(1), vae, "")
    assert not torch.equal(clips.latents(noise(2), vae, ""), one)
    assert torch.equal(clips.latents(noise(1), louder, ""), 2 * one)
    assert torch.equal(Clips(tmp_path).latents(noise(1), louder, ""), 2 * one)
    assert (vae.encoded, louder.encoded) == (2, 1)
    assert len(entries(tmp_path)) == 3


def test_without_a_folder_clips_are_kept_in_memory(vae: Averages) -> None:
    clips = Clips(None)
    assert clips.latents(noise(1), vae, "") is clips.latents(noise(1), vae, "")
    assert vae.encoded == 1


def test_the_built_in_vae_gives_the_same_latents_from_the_folder(tmp_path: Path) -> None:
    vae = load_vae(embedded.CHECKPOINT, torch.device("cpu"))
    clip = noise(1, 25)
    encoded = Clips(tmp_path).latents(clip, vae, "")
    again = load_vae(embedded.CHECKPOINT, torch.device("cpu"))
    assert torch.equal(Clips(tmp_path).latents(clip, again, ""), encoded)
    assert len(entries(tmp_path)) == 1


def test_the_entries_used_longest_ago_leave_first(tmp_path: Path, vae: Averages) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not an entry" * 1_000)
    abandoned, fresh = tmp_path / ".a.part", tmp_path / ".b.part"
    for part in (abandoned, fresh):
        part.touch()
    os.utime(abandoned, (0, 0))
    Clips(tmp_path).latents(noise(1), vae, "")
    (first,) = entries(tmp_path)
    room = 3 * first.stat().st_size
    Clips(tmp_path).latents(noise(2), vae, "")
    Clips(tmp_path).latents(noise(3), vae, "")
    for age, entry in enumerate(sorted(entries(tmp_path), key=lambda e: e.stat().st_mtime_ns)):
        os.utime(entry, (100 + age, 100 + age))
    Clips(tmp_path).latents(noise(1), vae, "")  # used, so the second is the oldest now
    assert vae.encoded == 3
    Clips(tmp_path, limit=room).latents(noise(4), vae, "")
    assert len(entries(tmp_path)) == 3
    assert first.exists()
    Clips(tmp_path).latents(noise(2), vae, "")
    assert vae.encoded == 5
    assert other.exists()
    assert fresh.exists()
    assert not abandoned.exists()


def damage(data: bytes, draw: st.DataObject) -> bytes:
    at = draw.draw(st.integers(0, len(data) - 1))
    match draw.draw(st.sampled_from(["cut", "flipped", "garbage", "longer", "header"])):
        case "cut":
            return data[:at]
        case "flipped":
            return data[:at] + bytes([data[at] ^ draw.draw(st.integers(1, 255))]) + data[at + 1 :]
        case "garbage":
            return draw.draw(st.binary(max_size=300))
        case "longer":
            return data + draw.draw(st.binary(min_size=1, max_size=10_000))
    at %= 150
    return data[:at] + draw.draw(st.binary(min_size=1, max_size=8)) + data[at + 1 :]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(draw=st.data())
def test_a_damaged_entry_is_encoded_again(tmp_path: Path, draw: st.DataObject) -> None:
    vae = Averages()
    wanted = Clips(tmp_path).latents(noise(1, 2), vae, "clip")
    (entry,) = entries(tmp_path)
    whole = entry.read_bytes()
    damaged = damage(whole, draw)
    entry.write_bytes(damaged)
    assert torch.equal(Clips(tmp_path).latents(noise(1, 2), vae, "clip"), wanted)
    found = Clips(tmp_path).latents(noise(1, 2), vae, "clip")
    assert torch.equal(found, wanted)
    assert vae.encoded <= 2


def test_an_entry_of_other_numbers_is_encoded_again(tmp_path: Path, vae: Averages) -> None:
    wanted = Clips(tmp_path).latents(noise(1), vae, "")
    (entry,) = entries(tmp_path)
    digest = torch.zeros(32, dtype=torch.uint8)
    for tensors in (
        {},
        {"latents": wanted},
        {"latents": wanted, "sha256": digest},
        {"latents": wanted, "sha256": digest.bfloat16()},
        {"latents": wanted[:5], "sha256": digest},
        {"latents": wanted.half(), "sha256": digest},
    ):
        entry.write_bytes(save(tensors))
        before = vae.encoded
        assert torch.equal(Clips(tmp_path).latents(noise(1), vae, ""), wanted)
        assert vae.encoded == before + 1


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writing more than `size` bytes into a file fails, as it does where there is no room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_said_once_and_leaves_nothing_behind(
    tmp_path: Path, vae: Averages, caplog: pytest.LogCaptureFixture
) -> None:
    clips = Clips(tmp_path)
    with files_of_at_most(100):
        for seed in (1, 2):
            assert clips.latents(noise(seed), vae, "").shape == (10, 64)
    assert list(tmp_path.iterdir()) == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"encoded clips cannot be kept in {tmp_path}" in record.message


@pytest.mark.parametrize("folder", ["a file", "below a file", "not to be made"])
def test_a_folder_that_cannot_be_used_is_said_once(
    tmp_path: Path, vae: Averages, caplog: pytest.LogCaptureFixture, folder: str
) -> None:
    (tmp_path / "file").touch()
    path = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "x", "not to be made": Path("/proc/x")}
    clips = Clips(path[folder])
    for seed in (1, 2):
        assert clips.latents(noise(seed), vae, "").shape == (10, 64)
    assert len(caplog.records) == 1


@contextmanager
def as_one_who_may_not_write() -> Iterator[None]:
    """Root may write everywhere, so it becomes nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_entries_of_a_folder_that_is_only_for_reading_are_used(
    vae: Averages, caplog: pytest.LogCaptureFixture
) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own are closed to others
        folder = Path(name)
        wanted = Clips(folder).latents(noise(1), vae, "")
        (entry,) = entries(folder)
        entry.chmod(0o444)
        folder.chmod(0o555)
        clips = Clips(folder)
        with as_one_who_may_not_write():
            assert torch.equal(clips.latents(noise(1), vae, ""), wanted)
            assert vae.encoded == 1
            clips.latents(noise(2), vae, "")
        folder.chmod(0o755)
        assert vae.encoded == 2
        assert entries(folder) == [entry]
        assert len(caplog.records) == 1


def test_an_entry_that_cannot_be_read_is_no_fault_of_the_clip(
    tmp_path: Path, vae: Averages, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = Clips(tmp_path).latents(noise(1), vae, "")
    (entry,) = entries(tmp_path)
    entry.unlink()
    entry.mkdir()
    assert torch.equal(Clips(tmp_path).latents(noise(1), vae, ""), wanted)
    assert len(caplog.records) == 1


CROWD = """
import sys, torch
from pathlib import Path
from engine.clips import Clips
from tests.engine.test_clips import Averages, noise
for turn in range(30):
    vae, seed = Averages(), turn % 5
    clips = Clips(Path(sys.argv[1]), limit=3 * 2900)
    assert torch.equal(clips.latents(noise(seed), vae, ""), Clips(None).latents(noise(seed), Averages(), "")), seed
"""


def test_two_processes_and_two_threads_share_a_small_folder(tmp_path: Path) -> None:
    crowd = [
        subprocess.Popen([sys.executable, "-c", CROWD, str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [(process.communicate(timeout=60)[1], process.returncode) for process in crowd] == [("", 0), ("", 0)]
    assert sum(entry.stat().st_size for entry in entries(tmp_path)) <= 3 * 2_900
    assert len(list(tmp_path.iterdir())) == len(entries(tmp_path)) > 0

    vae, clips, got = Averages(), Clips(tmp_path), []

    def ask() -> None:
        got.append(clips.latents(noise(9), vae, ""))

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got[0] is got[1]
