"""The table of demond's OSC addresses: what each takes, what it does and what it answers.

Everything else about addresses is made from it: the server's look-up, what patterns match, what can be subscribed to,
OSCQuery's tree and the reference pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from demond.osc.access import Role
from demond.session import DEPTH_LIMIT, STEPS_LIMIT


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
    STATUS = "status"
    TRACE = "trace"
    MESSAGES = "messages"
    PING = "ping"
    RELOAD = "reload"
    SYNC = "sync"
    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    DUMP = "dump"
    LOG_LEVEL = "log_level"
    LOG_TAIL = "log_tail"
    LOG_LINE = "log_line"


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

    `{lora}` stands for whatever a LoRA is called.
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


_SLOW = ("/demond/reply when it plays or was refused; the same address with the value if asked", True)

NUMBER = "i, f, d, h, T, F or a number as s or S"
TRIGGER = "none, I, T, or a number that rises through 0.5; F and lower numbers do nothing"

TABLE: tuple[Entry, ...] = (
    Entry(
        "/demond/knob/{knob}",
        Verb.KNOB,
        f"{NUMBER}; none asks",
        "Sets the knob in its own unit",
        "the same address with the value, if asked or if the value had to be changed to fit",
    ),
    Entry(
        "/demond/knob/{knob}/norm",
        Verb.KNOB_NORM,
        f"0 to 1 as {NUMBER}; none asks",
        "Sets the knob as a fader of its whole range would",
        "the same address with the position, if asked or if it had to be changed to fit",
    ),
    Entry(
        "/demond/knob/{knob}/delta",
        Verb.KNOB_DELTA,
        f"steps, up or down, as {NUMBER}",
        "Moves the knob by so many steps: 1 for whole numbers, a 127th of the range for others",
        "none",
        use=Use.ACTION,
    ),
    Entry(
        "/demond/knob/{knob}/touch",
        Verb.KNOB_TOUCH,
        "1 or T when a hand takes the control, 0 or F when it lets go; none asks",
        "Holds back what would move the control in the hand; the client is told the value when it lets go",
        "the same address, to other clients: whether anybody holds it",
    ),
    Entry(
        "/demond/knob/{knob}/reset",
        Verb.KNOB_RESET,
        TRIGGER,
        "Sets the knob to its default",
        "/demond/knob/{knob} with the default",
        use=Use.TRIGGER,
    ),
    Entry(
        "/demond/knob/{knob}/pickup",
        Verb.KNOB_PICKUP,
        "none asks",
        "Which way a control that waits to pick the knob up has to be turned",
        "the same address: -1 down, 1 up, 0 when none waits",
        use=Use.SHOWN,
    ),
    Entry(
        "/demond/knob/{knob}/text",
        Verb.KNOB_TEXT,
        "none asks",
        "The value as a person reads it, with its unit; sent to subscribers with the option `text`",
        "the same address with s",
        use=Use.SHOWN,
        on_request=True,
    ),
    Entry(
        "/demond/prompt/{slot}/text",
        Verb.SETTING,
        "s; none asks",
        "Gives prompt a, b or negative a new text; guidance steers away from negative",
        *_SLOW,
    ),
    Entry(
        "/demond/prompt/{fields}/{field}",
        Verb.SETTING,
        "s, and for bpm a number; an empty text or 0 hands back to the text; none asks",
        "Sets lyrics, language, bpm, key or time_signature of prompt a or b; they win over what the text says",
        *_SLOW,
    ),
    Entry(
        "/demond/prompt/blend",
        Verb.KNOB,
        f"{NUMBER}; none asks",
        "Another name of the knob prompt_blend",
        "as the knob's, on this address",
    ),
    Entry(
        "/demond/curve/{curve}",
        Verb.SETTING,
        "1 to 4096 numbers in the knob's unit; s off; none asks",
        "Draws the knob over the loop, first number to last; off hands it back to its number",
        *_SLOW,
    ),
    Entry(
        "/demond/source",
        Verb.SETTING,
        "s path; an empty one is the clip inside; none asks",
        "Plays another loop. Paths are taken below the `roots` of the settings alone, and looked up there",
        *_SLOW,
    ),
    Entry(
        "/demond/source/silence",
        Verb.SETTING,
        "f seconds; 0 is the clip inside; none asks",
        "Starts from silence of this length: music from the prompt alone",
        *_SLOW,
    ),
    Entry(
        "/demond/timbre",
        Verb.SETTING,
        "s path; an empty one is none; none asks",
        "Takes the sound of another clip; timbre_strength says how much",
        *_SLOW,
    ),
    Entry(
        "/demond/structure",
        Verb.SETTING,
        "s path; an empty one is the source; none asks",
        "Follows the rhythm and harmony of another clip; hint_strength says how strictly",
        *_SLOW,
    ),
    Entry(
        "/demond/target",
        Verb.SETTING,
        "s path; an empty one is the source; none asks",
        "Makes another clip what source_lock draws to",
        *_SLOW,
    ),
    Entry(
        "/demond/steps",
        Verb.SETTING,
        f"i from 1 to {STEPS_LIMIT}; none asks",
        "Denoising steps of each result",
        *_SLOW,
    ),
    Entry(
        "/demond/depth",
        Verb.SETTING,
        f"i from 1 to {DEPTH_LIMIT}; none asks",
        "Slots in flight: more is a higher rate of results, fewer a faster tick",
        *_SLOW,
    ),
    Entry(
        "/demond/context",
        Verb.SETTING,
        "f seconds; 0 is the whole loop; none asks",
        "How much of the loop a slot covers: shorter is faster",
        *_SLOW,
    ),
    Entry(
        "/demond/checkpoint",
        Verb.SETTING,
        "s path of a folder; an empty one is the model inside; none asks",
        "Plays another model",
        *_SLOW,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/lora/load",
        Verb.SETTING,
        "s path [f strength, else 1]",
        "Applies a LoRA file; its name is the file's without the suffix",
        "/demond/reply when it plays",
        True,
        use=Use.ACTION,
    ),
    Entry(
        "/demond/lora/{lora}/strength",
        Verb.SETTING,
        "f; s off; none asks",
        "Applies a LoRA that is loaded, or lies in the folder `engine.lora_folder`, this strongly, or takes it off",
        *_SLOW,
    ),
    Entry(
        "/demond/loras",
        Verb.LIST_LORAS,
        "none",
        "Lists the LoRAs that are on",
        "/demond/lora/{lora}/strength with its strength, for each",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/knobs",
        Verb.LIST_KNOBS,
        "none",
        "Lists the knobs",
        "/demond/knob/{knob} with its value, for each",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/status",
        Verb.STATUS,
        "none",
        "Tells how demond is doing",
        "/demond/status.reply with a JSON text",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/trace",
        Verb.TRACE,
        "i from 1 to 200; none means 20",
        "Lists the last control changes with the times of their way to the ear",
        "/demond/trace.reply with a JSON text, newest last",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/midi/messages",
        Verb.MESSAGES,
        "i the number of the last message that is known; none means 0",
        "Lists the control messages since then, and what came of each",
        "/demond/midi/messages.reply with a JSON text: count, and messages, the newest last",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/ping",
        Verb.PING,
        "anything",
        "Asks whether demond is there, and keeps subscriptions alive. A client that has not chosen is subscribed to "
        "everything; an i from 1024 is the port that it listens on",
        "/demond/pong with s version, f seconds since the start, i number of clients",
        use=Use.QUESTION,
    ),
    Entry("/ping", Verb.PING, "anything", "As TouchOSC sends it", "/demond/pong, as above", use=Use.QUESTION),
    Entry(
        "/demond/map/reload",
        Verb.RELOAD,
        TRIGGER,
        "Reads the mapping files again; with a mistake in them the old mapping stays",
        "/demond/reply",
        use=Use.TRIGGER,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/subscribe",
        Verb.SUBSCRIBE,
        "s pattern, then in this order i port, f rate (1 to 200 Hz), i ttl (seconds), and s options, each if wanted",
        "Sends all values that the pattern matches, then every change of them. Options, separated by commas: norm or "
        "real, bundle or nobundle, text or notext, wide or narrow, echo=corrected, echo=always or echo=never; they "
        "and the numbers hold for all that the client subscribes to",
        "/demond/update 1, the values, /demond/update 0; then each value when it changes",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/unsubscribe",
        Verb.UNSUBSCRIBE,
        "s pattern as it was subscribed; none means all",
        "Ends subscriptions, that by a ping as well",
        "none",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/dump",
        Verb.DUMP,
        "s pattern; none means everything that has a value",
        "Sends values once",
        "/demond/update 1, the values, /demond/update 0",
        use=Use.QUESTION,
    ),
    Entry(
        "/demond/log/level",
        Verb.LOG_LEVEL,
        "s debug, info, warning or error; none asks",
        "How much demond logs from now on",
        "the same address with the level, if asked",
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/log/tail",
        Verb.LOG_TAIL,
        "i from 1 to 200; none means 20",
        "Sends the last lines of the log",
        "/demond/log/line for each, oldest first",
        use=Use.QUESTION,
        role=Role.COMMAND,
    ),
    Entry(
        "/demond/log/line",
        Verb.LOG_LINE,
        "none asks",
        "The last line of the log; subscribers that spell it out are sent every line",
        "the same address with s",
        use=Use.SHOWN,
        role=Role.COMMAND,
        on_request=True,
    ),
    Entry(
        "/demond/sync",
        Verb.SYNC,
        "i of the client's choice",
        "Is answered after all that this client sent before has been applied, slow requests excepted",
        "/demond/synced with the same number",
        use=Use.QUESTION,
    ),
)


@dataclass(frozen=True, slots=True)
class Reply:
    """An address on which demond only sends."""

    address: str
    arguments: str
    meaning: str


REPLIES: tuple[Reply, ...] = (
    Reply(
        "/demond/error",
        "i code, s slug, s address, s message",
        "A message was refused; the codes are HTTP's. At most 10 a second per client, then one that counts the rest",
    ),
    Reply("/demond/update", "i 1 before the values of a dump, 0 after them", "Brackets a dump"),
    Reply(
        "/demond/reply", "s address, s status (ok or error), s JSON text with `message`", "How a slow request ended"
    ),
)
