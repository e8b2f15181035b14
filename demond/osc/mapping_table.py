"""The rows of the table of OSC addresses about mappings: layers, lines, learning, the last message; and triggers."""

from __future__ import annotations

from demond.osc.access import Role
from demond.osc.entry import TRIGGER, Entry, Reply, Use, Verb

MAPPING: tuple[Entry, ...] = (
    Entry(
        "/demond/layer/{layer}",
        Verb.LINES,
        "1 or T switches the layer on, 0 or F off, I changes it; none asks",
        "Gives the controls that have a line in this layer another meaning",
        "the same address with 1 or 0, if asked",
    ),
    Entry(
        "/demond/map/{line}/enable",
        Verb.LINES,
        "1 or T switches the line on, 0 or F off; none asks",
        "Switches the mapping line with this id, or all lines with this tag, until demond ends",
        "the same address with 1 or 0, if asked",
        on_request=True,
    ),
    Entry(
        "/demond/map/list",
        Verb.LINES,
        "s part of an id, or a tag; then, if wanted, i how many of them to leave out; none means all",
        "Lists the mapping lines, as many as fit",
        "/demond/map/list.reply with a JSON text: count of all, and lines with id, from, to, on, tags and learned",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/map/check",
        Verb.LINES,
        TRIGGER,
        "Reads the mapping files and says what is wrong with them; what plays stays as it is",
        "/demond/reply",
        True,
        use=Use.TRIGGER,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/midi/last",
        Verb.LINES,
        "none asks",
        "The last control message and what came of it; sent to those who spell it out",
        "the same address with a JSON text, empty before the first: source, message, control, line, outcome",
        use=Use.SHOWN,
        on_request=True,
    ),
    Entry("/demond/trigger/reseed", Verb.LINES, TRIGGER, "Gives the seed another number", "none", use=Use.TRIGGER),
    Entry(
        "/demond/trigger/panic",
        Verb.LINES,
        TRIGGER,
        "Mutes, and ends what moves knobs by itself: the morph, LFOs and gestures; everything stays where it is",
        "none",
        use=Use.TRIGGER,
    ),
    Entry("/demond/trigger/tap", Verb.LINES, TRIGGER, "As /demond/transport/tap", "none", use=Use.TRIGGER),
    Entry(
        "/demond/learn/start",
        Verb.LEARN,
        "s target, as after `to:` in a mapping; then, in this order, s id of the line (empty for its own), f seconds "
        "(1 to 600, 30 unless said), s guess, each if wanted",
        "Searches for the control that shall move the target: move it. What may be it does not act meanwhile",
        "/demond/learn/candidate for what was moved, until one of the other answers of learning ends it",
        True,
        use=Use.ACTION,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/learn/accept",
        Verb.LEARN,
        f"{TRIGGER}; or s control, as nk2/fader1",
        "Takes the candidate that was told last, or the one that is named: its line is written and in force",
        "/demond/reply with the line",
        True,
        use=Use.TRIGGER,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/learn/cancel",
        Verb.LEARN,
        TRIGGER,
        "Ends the search; nothing has changed",
        "none",
        use=Use.TRIGGER,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/learn/undo",
        Verb.LEARN,
        TRIGGER,
        "Takes back the line that was learned last, and brings back what it replaced; once more, the one before",
        "/demond/reply with the line",
        True,
        use=Use.TRIGGER,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/learn/target",
        Verb.LEARN,
        "none asks",
        "What is being learned",
        "the same address with s; empty for nothing",
        use=Use.SHOWN,
    ),
)

LEARNED: tuple[Reply, ...] = (
    Reply(
        "/demond/learn/candidate",
        "s device, s control, i count of moves, f span of its travel (0 to 1), s what its numbers look like",
        "To whoever began to learn: what a hand has moved. The one that is told last is the one to be taken",
    ),
    Reply("/demond/learn/done", "s id, s line", "To whoever began to learn: the line is written and in force"),
    Reply("/demond/learn/timeout", "s target, s what was heard and why it was not taken", "Nobody accepted in time"),
    Reply("/demond/learn/cancelled", "s target, s why", "Learning has ended without a line"),
)
