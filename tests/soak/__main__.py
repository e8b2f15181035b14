"""`python -m tests.soak --minutes 15 --seed 1`."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.e2e.instrument import Instrument
from tests.jack import running_jackd
from tests.soak.mischief import MAPPING, Mischief
from tests.soak.watch import Watch

PAUSE_SECONDS = 0.7
"""Between two acts, so that the engine gets to play at times."""
SAMPLE_SECONDS = 30.0
"""Between two moments of calm, in which is measured what everything costs."""


def main() -> int:
    """The program; its exit status is 1 if the daemon shows wear."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Treats the daemon badly, for long.")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, help="keep the daemon's log here")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or the daemon would outlive the soak
    with tempfile.TemporaryDirectory(prefix="demond-soak-") as folder, running_jackd(sync=False) as server:
        mapping = Path(folder) / "box.yaml"
        mapping.write_text(MAPPING)
        options = ("--midi", "jack", "--mapping", str(mapping), "--source", "lofi-75")
        with Instrument(server.name or "", arguments.log or Path(folder) / "log", *options) as instrument:
            instrument.until_playing()
            mischief = Mischief(instrument, server.name or "", mapping, random.Random(arguments.seed))  # noqa: S311
            try:
                faults = soak(instrument, mischief, arguments.minutes)
            finally:
                mischief.close()
    for fault in faults:
        sys.stdout.write(f"  {fault}\n")
    sys.stdout.write(f"{arguments.minutes:g} minutes, seed {arguments.seed}: {len(faults)} faults\n")
    return 1 if faults else 0


def soak(instrument: Instrument, mischief: Mischief, minutes: float) -> list[str]:
    """Acts for so long, then sees whether the daemon still plays; returns what is wrong."""
    watch, acts = Watch(instrument), Counter[str]()
    end, next_sample = time.monotonic() + 60 * minutes, 0.0
    while time.monotonic() < end:
        if time.monotonic() >= next_sample:
            mischief.calm()
            watch.look()
            next_sample = time.monotonic() + SAMPLE_SECONDS
            left = max(end - time.monotonic(), 0) / 60
            sys.stderr.write(f"\r{left:.1f} minutes left, {acts.total()} acts, {len(watch.unanswered)} unanswered ")
            sys.stderr.flush()
        what = mischief.act()
        acts[what] += 1
        watch.answered(what)
        time.sleep(PAUSE_SECONDS)
    sys.stderr.write("\n")
    instrument.until_playing()
    before = instrument.status()["engine"]["tick"]
    instrument.client.ask("/demond/knob/seed", 7)
    instrument.until(lambda s: s["engine"]["tick"] != before, "the engine still follows a knob")
    mischief.calm()
    watch.look()
    for line in (*watch.table(), *(f"{count:>5} {what}" for what, count in acts.most_common())):
        sys.stdout.write(f"{line}\n")
    seconds, what = watch.slowest
    sys.stdout.write(
        f"slowest answer {1000 * seconds:.0f} ms, after {what}; xruns {watch.xruns}; "
        f"{len(instrument.log.splitlines())} lines of log\n"
    )
    return watch.faults()


if __name__ == "__main__":
    sys.exit(main())
