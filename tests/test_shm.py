"""Shared memory: the creator owns it, attachers leave no trace, and a killed creator leaves no segment."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from demond import native, shm
from tests.jack import wait_for

ROOT = Path("/dev/shm")


@pytest.fixture
def memory() -> Iterator[shm.SharedMemory]:
    made = shm.create(shm.unique_name("test"), 8192)
    yield made
    made.close()
    made.unlink()


def test_what_one_end_writes_the_other_reads(memory: shm.SharedMemory) -> None:
    other = shm.attach(memory.name)
    assert other.size == 8192
    native.store_u64(memory.address + 64, 0xFEED_0000_0000_0001)
    assert native.load_u64(other.address + 64) == 0xFEED_0000_0000_0001
    other.close()
    other.close()
    assert bytes(memory.buf[64:66]) == b"\x01\x00"


def test_an_attacher_that_ends_leaves_the_segment_alone(memory: shm.SharedMemory) -> None:
    code = f"from demond import shm; shm.attach({memory.name!r}).buf[0] = 7"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert memory.buf[0] == 7
    assert (ROOT / memory.name).exists()


def test_a_killed_creator_leaves_no_segment() -> None:
    code = "import sys; from demond import shm; m = shm.create(shm.unique_name('t'), 64); print(m.name, flush=True)"
    creator = subprocess.Popen(
        [sys.executable, "-c", code + "; sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with creator:
        assert creator.stdout is not None
        name = creator.stdout.readline().strip()
        assert (ROOT / name).exists()
        creator.send_signal(signal.SIGKILL)
        creator.wait()
        wait_for(lambda: not (ROOT / name).exists(), 5, "the segment is gone")


def test_only_the_user_may_read_it(memory: shm.SharedMemory) -> None:
    assert (ROOT / memory.name).stat().st_mode & 0o777 == 0o600


def test_an_attacher_may_not_unlink(memory: shm.SharedMemory) -> None:
    other = shm.attach(memory.name)
    with pytest.raises(shm.SharedMemoryError, match="only the process that created it"):
        other.unlink()
    other.close()


def test_a_name_that_is_taken_or_missing_or_no_name_is_said_in_words(memory: shm.SharedMemory) -> None:
    with pytest.raises(shm.SharedMemoryError, match="exists already"):
        shm.create(memory.name, 64)
    with pytest.raises(shm.SharedMemoryError, match="No such file"):
        shm.attach("demond-nobody-made-this")
    for name in ("", "../etc/passwd", ".hidden", "a/b", "x" * 300):
        with pytest.raises(shm.SharedMemoryError, match="is no name for shared memory"):
            shm.attach(name)


def test_memory_that_does_not_exist_is_refused_before_it_is_touched() -> None:
    name = shm.unique_name("huge")
    with pytest.raises(shm.SharedMemoryError, match=r"/dev/shm has \d+ MiB left and 1048576 MiB are needed"):
        shm.create(name, 1 << 40)
    assert not (ROOT / name).exists()


def test_words_fall_back_on_plain_ones(memory: shm.SharedMemory) -> None:
    native._plain_store(memory.address, (1 << 64) - 1)
    assert native.load_u64(memory.address) == (1 << 64) - 1
    native.store_u64(memory.address, 5)
    assert native._plain_load(memory.address) == 5
