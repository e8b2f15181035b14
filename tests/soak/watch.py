"""What wears out, measured: memory, open files and threads of each process, lines of the log, answers, xruns."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.instrument import Instrument

YOUNG_SECONDS = 120.0
"""A process this young may still grow: it loads, it fills its caches."""
GROWTH_KIB_PER_MINUTE = 1_024
"""More than this, over all of a run, is a leak: a set of four hours would cost 240 MiB."""
GROWTH_KIB = 49_152
"""Growth that a short run does not tell from the allocator's habits and the clips that the engine keeps."""
FILES_MORE = 4
"""Open files and threads may differ by so many between two moments: clients come and go."""
LINES_PER_MINUTE = 240
"""Lines of the log; a journal keeps that for weeks."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment."""

    at: float
    """Seconds on the monotonic clock."""
    rss_kib: int
    files: int
    threads: int


def sample(pid: int) -> Sample | None:
    """The process as it is now; None when it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        status = (folder / "status").read_text()
        files = len(list((folder / "fd").iterdir()))
    except OSError:
        return None
    found = {word: int(value) for word, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)}
    return Sample(time.monotonic(), found["VmRSS"], files, found["Threads"]) if "VmRSS" in found else None


def children(pid: int) -> dict[int, str]:
    """The processes of a daemon by pid: `demond`, `audio`, `engine`, `midi`."""
    found = {pid: "demond"}
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            name = Path(f"/proc/{child}/comm").read_text().strip()
            if name.startswith("demond-"):
                found[int(child)] = name.removeprefix("demond-")
    except OSError:  # one of them was killed while it was looked at
        pass
    return found


@dataclass
class Watch:
    """All that was measured of one instrument."""

    instrument: Instrument
    samples: dict[tuple[str, int], list[Sample]] = field(default_factory=dict)
    """By part and pid."""
    started: float = field(default_factory=time.monotonic)
    unanswered: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")
    """Seconds until an answer, and what had been done before."""
    xruns: int = 0

    def look(self) -> None:
        """Takes a sample of each process."""
        for pid, part in children(self.instrument.process.pid).items():
            found = sample(pid)
            if found is not None:
                self.samples.setdefault((part, pid), []).append(found)

    def answered(self, after: str) -> None:
        """Asks for a sign of life after something was done to the daemon, and notes how long that took."""
        begun = time.monotonic()
        status = self.instrument.status()
        seconds = time.monotonic() - begun
        if not status:
            self.unanswered.append(after)
            return
        self.xruns = max(self.xruns, status["audio"]["xruns"])
        self.slowest = max(self.slowest, (seconds, after))

    def faults(self) -> list[str]:
        """What is wrong, in words; nothing when the daemon bears it for ever."""
        found = [f"not answered after: {what}" for what in self.unanswered]
        for (part, pid), samples in self.samples.items():
            old = [one for one in samples if one.at - samples[0].at >= YOUNG_SECONDS]
            if len(old) < 2:
                continue
            first, last = old[0], old[-1]
            minutes = (last.at - first.at) / 60
            grown = last.rss_kib - first.rss_kib
            if grown > max(GROWTH_KIB, GROWTH_KIB_PER_MINUTE * minutes):
                found.append(f"{part} ({pid}) has grown by {grown / 1024:.0f} MiB in {minutes:.1f} minutes")
            if last.files > first.files + FILES_MORE:
                found.append(f"{part} ({pid}) has {last.files} open files, {first.files} before")
            if last.threads > first.threads + FILES_MORE:
                found.append(f"{part} ({pid}) has {last.threads} threads, {first.threads} before")
        lines = self.instrument.log.splitlines()
        minutes = max((time.monotonic() - self.started) / 60, 1.0)
        if len(lines) / minutes > LINES_PER_MINUTE:
            found.append(f"the log has {len(lines)} lines, {len(lines) / minutes:.0f} a minute")
        found += [f"the log says: {line}" for line in lines if "Traceback" in line or " ERROR " in line]
        return found

    def table(self) -> list[str]:
        """Each process, when it was young and at the end."""
        rows = ["part     pid       minutes   RSS MiB        files     threads"]
        for (part, pid), samples in self.samples.items():
            first = next((one for one in samples if one.at - samples[0].at >= YOUNG_SECONDS), samples[0])
            last = samples[-1]
            rows.append(
                f"{part:<8} {pid:<8} {(last.at - samples[0].at) / 60:>7.1f}   "
                f"{first.rss_kib / 1024:>5.0f} → {last.rss_kib / 1024:<5.0f}  {first.files:>3} → {last.files:<3} "
                f"{first.threads:>4} → {last.threads:<3}"
            )
        return rows
