"""When a slot in flight is better born anew than led on.

Called by the ring for slots that live through a change. A slot that is born anew begins again from the same noise
under the new settings and does what is left of its steps as a whole, shorter schedule. A slot that is led on keeps
what it has invented so far. Few steps miss what the whole schedule gives by the more the fewer they are; leading on
misses a part of the change. So the larger the change and the more steps are left, the better is a new birth.

Measured on the built-in model with `python -m engine.bench.renewal`, 8 steps, as the distance to the steady latent
after the change, relative to the size of the change; led on / born anew:

=======================  ===========  ===========  ===========
change                   1 step left  3 steps      5 steps
=======================  ===========  ===========  ===========
denoise .9 to .3         .36 / .27    .25 / .09    .21 / .03
denoise .3 to .9         .97 / .76    .90 / .24    .80 / .10
denoise .7 to .5         .63 / 1.50   .52 / .51    .50 / .20
seed                     1.00 / .65   1.00 / .21   1.00 / .08
prompt A to B            .94 / .62    .84 / .20    .75 / .08
prompt_blend 0 to .3     .84 / 3.62   .61 / 1.18   .42 / .48
hint_strength 1 to .3    .98 / 2.88   .88 / .87    .66 / .35
=======================  ===========  ===========  ===========

The rule that these give: the size of the change times the steps that are left is at least :data:`WORTH`, with the
weights below. One step alone is only taken when strength falls or rises by a third of the schedule.
"""

from __future__ import annotations

import operator

from engine.curves import amount
from engine.schedule import times
from engine.settings import Settings

WORTH = 0.3
CHOICE_STEPS = 3
"""Steps that are enough for another seed, guidance mode, noise curve at birth, or place of feedback."""
_PROMPT = 0.12
"""Size of the way from one prompt to another, or of a new text."""
_HINTS = 0.15
"""Size of the way from following the hints to not following them."""


def size(before: Settings, after: Settings, steps: int) -> float:
    """How large the change between two settings is for a slot, 0 where it is led on as well as it can be.

    Strength, shift and feedback count by what they move: the times of a schedule of `steps`, and the share.
    """
    a, b = before.knobs, after.knobs
    plans = zip(times(steps, a.denoise, a.shift), times(steps, b.denoise, b.shift), strict=True)
    chosen = a.seed != b.seed or a.guidance_mode != b.guidance_mode
    drawn = not before.curves.same(after.curves, "initial_noise")
    farther = a.feedback_depth != b.feedback_depth and max(a.feedback, b.feedback) > 0
    return max(
        max(abs(s - t) for s, t in plans),
        abs(a.feedback - b.feedback),
        WORTH / CHOICE_STEPS * (chosen or farther or drawn),
        _PROMPT * any(map(operator.is_not, before.guide.prompts, after.guide.prompts)),
        _PROMPT * _way(before, after, "prompt_blend"),
        _HINTS * _way(before, after, "hint_strength"),
    )


def _way(before: Settings, after: Settings, name: str) -> float:
    """How far the knob `name` has moved; nothing where one of the two is a curve, which is not read back."""
    a, b = (amount(each.knobs, each.curves, name) for each in (before, after))
    return abs(a - b) if isinstance(a, int | float) and isinstance(b, int | float) else 0.0
