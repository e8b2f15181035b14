"""Fixtures that every test may use, and what must be set before anything is imported."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.jack import jackd

__all__ = ["jackd"]

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it, and so do its children
os.environ.setdefault("TRITON_INTERPRET", "1")  # kernels of a GPU are tested on the CPU; read when triton is imported


# Tests may share their cores with each other: how long an example takes is no finding.
settings.register_profile("beside others", settings(), deadline=None)
settings.load_profile("beside others")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Where files are tested beside each other, the tests of one stay together, and so do those of TensorRT: they
    share what is exported and built for them.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-not-found, unused-ignore]

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            folder = file.rpartition("/")[0]
            return folder if folder.endswith("/trt") else file

    return Together(config, log)


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
