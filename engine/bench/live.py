"""`python -m engine.bench.live`: what changes in the midst of music cost, and whether the way back leads back.

A session plays in real time into a loop that goes by the clock. Prompt, guidance, strength, depth, steps, window,
source and checkpoint are changed one after the other, each back again. For each is printed how long it was until the
change had been taken up, the longest step meanwhile, and whether the latent at rest was then the same as before, bit
for bit. A change of depth must not change it at all.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

from engine import embedded
from engine.backends.choose import NAMES
from engine.bench.reaction import ClockPort
from engine.guidance import Mode
from engine.knobs import Knobs
from engine.session import Session

DESCRIPTION = "Changes everything in the midst of music and back, and says what it cost and whether it led back."
_LONGEST = 120.0
"""Seconds after which a session that has not come to rest never will."""

_SAME = ("depth 8", "depth 2", "checkpoint")
"""Changes that must not be heard once all is at rest: the other checkpoint is a copy."""

Change = Callable[[], Future[str] | None]


class Stage:
    """A session that plays, and how long its steps took."""

    def __init__(self, session: Session) -> None:
        """Attaches it to a port of its own."""
        self.session, self.knobs, self.longest = session, Knobs(version=1), 0.0
        session.attach(ClockPort())

    def turn(self, **knobs: object) -> None:
        """Turns knobs."""
        self.knobs = replace(self.knobs, version=self.knobs.version + 1, **knobs)  # type: ignore[arg-type]

    def step(self) -> bool:
        """One step; whether there was nothing to do."""
        begun = time.perf_counter()
        step = self.session.step(self.knobs)
        self.longest = max(self.longest, 1e3 * (time.perf_counter() - begun))
        if step.idle and not step.writes:
            time.sleep(0.001)
        return step.idle

    def make(self, change: Change) -> tuple[float, float, str]:
        """Milliseconds until it was taken up, the longest step until all was at rest again, and the latent's hash."""
        self.longest, begun = 0.0, time.perf_counter()
        asked = change()
        while asked is not None and not asked.done():
            self.step()
        took = 1e3 * (time.perf_counter() - begun)
        if asked is not None:
            asked.result()
        self.stir()
        self.rest()
        return took, self.longest, self.digest()

    def stir(self) -> None:
        """Lets the ring go through whole lives of slots that are of something else."""
        self.turn(velocity_scale=0.9)
        for _ in range(3 * self.session.setup.steps):
            self.step()
        self.turn(velocity_scale=1.0)

    def rest(self) -> None:
        """Plays until nothing can change any more. Raises `RuntimeError` if that never comes."""
        deadline = time.monotonic() + _LONGEST
        for _ in range(3 * self.session.setup.steps):  # a change is seen by the next step, and idle before it
            self.step()
        while not self.step():
            if time.monotonic() > deadline:
                raise RuntimeError(f"with constant knobs the session does not come to rest in {_LONGEST:.0f} s")

    def digest(self) -> str:
        """Of the latent that plays."""
        result = self.session.result
        if result is None:
            raise RuntimeError("nothing has been finished yet")
        return result.digest()


def changes(stage: Stage, other: Path) -> dict[str, tuple[Change, Change]]:
    """Each change and its way back; `other` is a folder with a copy of the checkpoint."""
    session, setup = stage.session, stage.session.setup
    clip = next(each for each in sorted(embedded.CLIP.parent.glob("*.flac")) if each != embedded.CLIP)
    return {
        "prompt": (
            partial(session.request_prompt, "a", "chiptune, 120 bpm"),
            partial(session.request_prompt, "a", embedded.PROMPT_A),
        ),
        "guidance full": (
            partial(stage.turn, guidance_mode=Mode.FULL, guidance_scale=3.0),
            partial(stage.turn, guidance_mode=Mode.OFF, guidance_scale=1.0),
        ),
        "strength": (partial(stage.turn, denoise=0.3), partial(stage.turn, denoise=Knobs().denoise)),
        "curve": (
            partial(session.set_curve, "velocity_scale", [0.8, 1.2]),
            partial(session.set_curve, "velocity_scale", None),
        ),
        "depth 8": (partial(session.request_depth, 8), partial(session.request_depth, setup.depth)),
        "depth 2": (partial(session.request_depth, 2), partial(session.request_depth, setup.depth)),
        "steps": (partial(session.request_steps, 5), partial(session.request_steps, setup.steps)),
        "window": (partial(session.request_context, 6.0), partial(session.request_context, None)),
        "source": (partial(session.request_source, clip), partial(session.request_source, None)),
        "checkpoint": (partial(session.request_checkpoint, other), partial(session.request_checkpoint, None)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes all changes; the exit status is 1 when one did not lead back."""
    parser = argparse.ArgumentParser(prog="python -m engine.bench.live", description=DESCRIPTION)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--backend", choices=NAMES, default="auto", help="what runs the network")
    parser.add_argument("--depth", type=int, default=4, help="slots in flight")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        shutil.copytree(embedded.CHECKPOINT, other)
        session = Session(device=asked.device, backend=asked.backend, depth=asked.depth)
        try:
            stage = Stage(session)
            sys.exit(_all(stage, other))
        finally:
            session.close()


def _all(stage: Stage, other: Path) -> bool:
    """Whether a change did not lead back."""
    session = stage.session
    sys.stdout.write(f"{session.device_name}, {session.backend_name}, {session.model_name}\n")
    stage.rest()
    first, lost = stage.digest(), False
    sys.stdout.write(f"{'':16}{'taken up, back, ms':>24}{'longest step, back':>24}\n")
    for name, (there, back) in changes(stage, other).items():
        took, longest, digest = stage.make(there)
        took_back, longest_back, digest_back = stage.make(back)
        wrong = digest_back != first or ((digest == first) != (name in _SAME))
        lost = lost or wrong
        sys.stdout.write(
            f"{name:16}{took:14.1f}{took_back:10.1f}{longest:14.1f}{longest_back:10.1f}"
            f"{'  not the same as before' if wrong else ''}\n"
        )
        sys.stdout.flush()
    begun, ticks = time.perf_counter(), list[float]()
    while time.perf_counter() < begun + 2:
        stage.turn(denoise=0.5 + 0.2 * (len(ticks) % 10) / 10)
        ticks.append(time.perf_counter())
        stage.step()
    apart = statistics.median(1e3 * (b - a) for a, b in pairwise(ticks))
    sys.stdout.write(f"with strength moving all the time a step every {apart:.2f} ms\n")
    return lost


if __name__ == "__main__":
    main()
