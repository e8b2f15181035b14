"""Fixtures that every test may use, and what must be set before anything is imported."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from tests.jack import jackd

__all__ = ["jackd"]

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, and so do its children
os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels of a GPU are tested on the CPU; read when triton is imported


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where files are tested beside each other, the tests of one stay together, and so do those of TensorRT: they
    share what is exported and built for them.
    """
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            together = item.path.parent if item.path.parent.name == "trt" else item.path
            item.add_marker(pytest.mark.xdist_group(str(together.relative_to(config.rootpath))))


@pytest.fixture(scope="session", autouse=True)
def state_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes what the person who runs them has set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """A session flushes denormals in its thread, which the floats of property tests do not bear."""
    yield
    if torch := sys.modules.get("torch"):
        torch.set_flush_denormal(False)
