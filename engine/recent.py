"""What was made a short while ago, kept by what it was made from.

Used by conditioners: a performer goes back and forth between prompts, and what was encoded once is there at once.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import torch
from torch import Tensor

Made = TypeVar("Made")


class Recent(Generic[Made]):
    """The things used last, up to a number of bytes. Any thread may call it; none waits while another makes one."""

    def __init__(self, limit: int, size: Callable[[Made], int]) -> None:
        """Keeps at most `limit` bytes, of which a thing takes `size(thing)`; one that is larger is not kept."""
        self._limit, self._size = limit, size
        self._kept: OrderedDict[Hashable, Made] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """The thing kept under `key`, or what `make()` gives, which is then kept.

        Two threads that ask for the same at once may both make it; both get the one that was there first.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += self._size(made)
            else:
                made = self._kept[key]
            self._kept.move_to_end(key)
            while self._bytes > self._limit:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= self._size(oldest)
        return made


def content_of(tensor: Tensor) -> bytes:
    """What tells `tensor` from others: SHA-256 of its shape, dtype and values."""
    values = tensor.detach().cpu().contiguous()
    digest = hashlib.sha256(f"{tuple(values.shape)} {values.dtype} ".encode())
    digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.digest()
