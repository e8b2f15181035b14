"""Durations are those of the work, on whatever device."""

from __future__ import annotations

import threading

import pytest
import torch

from engine.timing import timed


def test_a_run_takes_at_least_as_long_as_its_work_and_they_add_up() -> None:
    pause = threading.Event()
    found = timed(lambda: pause.wait(0.01), torch.device("cpu"), 3)
    assert len(found.runs) == 3
    assert min(found.runs) >= 10
    assert found.host == found.runs
    assert found.seconds == pytest.approx(sum(found.runs) / 1e3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="times by CUDA's events")
def test_on_a_gpu_the_device_is_timed_and_not_the_call() -> None:
    device = torch.device("cuda")
    a = torch.randn(8192, 8192, device=device)
    timed(lambda: a @ a, device, 2)
    found = timed(lambda: a @ a, device, 4)
    assert sum(found.host) < sum(found.runs)
    assert min(found.runs) > 1
