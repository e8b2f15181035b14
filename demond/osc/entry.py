"""What a row of the table of OSC addresses says. The rows are in `demond.osc.table` and `demond.osc.stage_table`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from demond.osc.access import Role

SLOW = ("/demond/reply when it plays or was refused; the same address with the value if asked", True)

NUMBER = "i, f, d, h, T, F or a number as s or S"
TRIGGER = "none, I, T, or a number that rises through 0.5; F and lower numbers do nothing"


class Verb(Enum):
    """What an address does."""

    KNOB = "knob"
    KNOB_NORM = "knob_norm"
    KNOB_DELTA = "knob_delta"
    KNOB_TOUCH = "knob_touch"
    KNOB_RESET = "knob_reset"
    KNOB_PICKUP = "knob_pickup"
    KNOB_TEXT = "knob_text"
    SETTING = "setting"
    LIST_LORAS = "list_loras"
    LIST_KNOBS = "list_knobs"
    BUILT_IN = "built_in"
    KNOB_TABLE = "knob_table"
    STATUS = "status"
    TRACE = "trace"
    MESSAGES = "messages"
    PING = "ping"
    RELOAD = "reload"
    SYNC = "sync"
    ID = "id"
    """Taken by the batch itself, since it is about the messages beside it."""
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    DUMP = "dump"
    LOG_LEVEL = "log_level"
    LOG_TAIL = "log_tail"
    LOG_LINE = "log_line"
    STAGE = "stage"
    """Scenes, LFOs, gestures, the beat: `demond.osc.stage` tells them apart by their address."""
    LINES = "lines"
    """Layers, mapping lines, the last MIDI message, triggers: `demond.osc.lines` does."""
    LEARN = "learn"
    """Learning: `demond.osc.learn` does."""


class Use(Enum):
    """What an address is good for."""

    VALUE = "value"
    """It has a value: to be set, asked for without an argument, subscribed to."""
    SHOWN = "shown"
    """It has a value that only demond sets."""
    ACTION = "action"
    """Arguments do something; there is no value to ask for."""
    TRIGGER = "trigger"
    """It fires; patterns fire it only where the settings allow that."""
    QUESTION = "question"
    """It answers and changes nothing of the music."""

    @property
    def has_value(self) -> bool:
        """Whether it can be asked for and subscribed to."""
        return self in (Use.VALUE, Use.SHOWN)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: an address, or one for each knob, prompt slot, field or curve where it has a `{}`.

    `{lora}` stands for whatever a LoRA is called, `{scene}` for a scene, `{layer}` for a layer, `{line}` for the id
    or a tag of mapping lines.
    """

    address: str
    verb: Verb
    arguments: str
    meaning: str
    reply: str
    slow: bool = False
    """The answer comes when the work is done, not at once."""
    use: Use = Use.VALUE
    role: Role = Role.SET
    """Who may send what is no question to it; values are everybody's to read."""
    on_request: bool = False
    """Sent only to those who spell it out in a subscription."""

    @property
    def least_role(self) -> Role:
        """Who may send arguments to it, or what is no question."""
        only_told = self.use in (Use.SHOWN, Use.QUESTION) and self.role is not Role.COMMAND
        return Role.READ if only_told else self.role


@dataclass(frozen=True, slots=True)
class Reply:
    """An address on which demond only sends."""

    address: str
    arguments: str
    meaning: str
