"""Notices when files change. Used by :class:`demond.mapping.source.MappingSource` in the daemon's event loop."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import watchfiles

log = logging.getLogger(__name__)
# It reports each event as information: of a log file in a watched folder, that would be without end.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

STEP_MS = 20
"""A change is reported when this long nothing else has changed: an editor writes a file in several steps."""
DEBOUNCE_MS = 200
"""A change is reported after this long in any case."""
LOOK_SECONDS = 1.0
"""The files are looked at this often even if the system reports nothing, as network file systems do not."""

_Stamp = tuple[int, int, int] | None


async def changes(files: Callable[[], Iterable[Path]]) -> AsyncIterator[None]:
    """Yields once after each change to any of `files`, which is asked anew every time. Runs until cancelled.

    Changes since the call count from the first step on. Folders are watched, not files, so that a file is noticed
    that an editor replaces, or that does not exist yet.
    """
    seen = _stamps(files())
    while True:
        folders = {folder for file in seen for folder in _folders(file)}
        if not folders:
            await asyncio.sleep(LOOK_SECONDS)
            seen = _stamps(files())
            continue
        ours = _spellings(seen)
        watch = watchfiles.awatch(
            *folders,
            watch_filter=lambda _, path, ours=ours: path in ours,  # type: ignore[misc]
            step=STEP_MS,
            debounce=DEBOUNCE_MS,
            recursive=False,
            rust_timeout=int(LOOK_SECONDS * 1000),
            yield_on_timeout=True,
        )
        try:
            async for _ in watch:
                now = _stamps(seen)
                if now != seen:
                    seen = now
                    yield
                wanted = _stamps(files())
                if wanted.keys() != seen.keys():
                    # A reload brought other files in. What it read is as new as what we see now, or newer changes
                    # to it are found by the next look.
                    seen = {file: seen.get(file, stamp) for file, stamp in wanted.items()}
                    break
        except OSError as error:
            log.warning("mapping files cannot be watched (%s); trying again", error)
            await asyncio.sleep(LOOK_SECONDS)
        finally:
            await watch.aclose()


def _stamps(files: Iterable[Path]) -> dict[Path, _Stamp]:
    """What tells one state of each file from another: file number, size, time of change; None while it is absent."""
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> _Stamp:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _folders(file: Path) -> set[str]:
    """Where a change to `file` shows: its folder, and that of the file it is a link to."""
    return {folder for path in _spellings([file]) if os.path.isdir(folder := os.path.dirname(path))}


def _spellings(files: Iterable[Path]) -> set[str]:
    """The paths that the system may report a change to `files` by."""
    return {spelling for file in files for spelling in (os.path.abspath(file), os.path.realpath(file))}
