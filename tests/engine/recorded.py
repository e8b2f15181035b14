"""The graph backend where there is no GPU: what would be captured is kept, and run again on the same buffers.

So a test shows that a launch finds everything it needs, and not what a capture itself does.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from engine.backends import graph


class Recorded:
    """In the place of a captured graph."""

    def __init__(self, run: Callable[[], None], pool: object) -> None:
        self.replay = run
        self.pool = pool


def record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the backend record until the test is over."""
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(graph, "captured", Recorded)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
