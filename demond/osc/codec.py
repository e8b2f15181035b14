"""OSC 1.0 datagrams to messages and back. Used by the OSC server, by `demond.client` and by the tests.

Reading is written here and not left to python-osc, because its parser can be held up for good by 20 bytes (a bundle
element of negative size), copies the rest of the datagram for every argument, and drops arguments of type `I`, `S`
and `c`, which shifts those that follow. Every size is checked before anything is read, and the time taken grows with
the datagram's length alone. Writing uses python-osc's primitives.

Errors are :class:`OscError`; no other exception leaves :func:`parse`, whatever the bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator
from enum import Enum
from typing import NamedTuple, cast

from pythonosc.parsing import osc_types

SIZE_LIMIT = 65_507
"""The largest UDP payload over IPv4 (65,535 less 20 bytes of IP and 8 of UDP header)."""
DEPTH_LIMIT = 4
MESSAGE_LIMIT = 1_024
ARGUMENT_LIMIT = 4_096
STEP = 64
"""Messages of a bundle that are read in one step."""

IMMEDIATELY = 1
"""The time tag that means now (OSC 1.0, time tags)."""
NTP_TO_UNIX = 2_208_988_800
"""Seconds from 1900, where time tags begin, to 1970 (RFC 5905, figure 4)."""


class Impulse(Enum):
    """The argument type `I`: it carries no value, it is one."""

    IMPULSE = "I"


IMPULSE = Impulse.IMPULSE

Argument = int | float | bool | str | None | Impulse


class OscError(Exception):
    """A datagram or message that cannot be granted, as `/demond/error` reports it."""

    def __init__(self, code: int, slug: str, address: str, message: str) -> None:
        """`code` is HTTP's, `slug` names the case for programs, `message` says in words what would be right."""
        super().__init__(message)
        self.code, self.slug, self.address, self.message = code, slug, address, message


class Message(NamedTuple):
    """An address and its arguments."""

    address: str
    arguments: tuple[Argument, ...]


class Bundle(NamedTuple):
    """The messages that take effect together, and those that were refused while reading."""

    time_tag: int
    """NTP, 32.32 fixed point; :data:`IMMEDIATELY` for a message that came in no bundle."""
    messages: tuple[Message, ...]
    errors: tuple[OscError, ...] = ()


class Packet(NamedTuple):
    """What one datagram holds: one bundle per time tag, in order of appearance."""

    bundles: tuple[Bundle, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, whatever their time."""
        return tuple(message for bundle in self.bundles for message in bundle.messages)


_BUNDLE = b"#bundle\0"
_int32, _int64 = struct.Struct(">i").unpack_from, struct.Struct(">q").unpack_from
_float32, _float64 = struct.Struct(">f").unpack_from, struct.Struct(">d").unpack_from
_uint64 = struct.Struct(">Q").unpack_from
_FIXED = {"f": (_float32, 4), "i": (_int32, 4), "d": (_float64, 8), "h": (_int64, 8)}
_VALUES: dict[str, Argument] = {"T": True, "F": False, "N": None, "I": IMPULSE}
_REFUSED = {
    "b": "a blob",
    "m": "a MIDI message",
    "r": "a colour",
    "t": "a time tag",
    "[": "an array",
    "]": "an array",
}


def parse(datagram: bytes) -> Packet:
    """What `datagram` says. Raises :class:`OscError` as :func:`reading`."""
    work = reading(datagram)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast(Packet, end.value)


def reading(datagram: bytes) -> Generator[None, None, Packet]:
    """Returns what `datagram` says, in steps. Raises :class:`OscError` if it is no OSC packet or past a limit.

    A message with arguments that demond does not take is no reason to drop the rest of its bundle: it is listed in
    :attr:`Bundle.errors`. A single such message raises.
    """
    size = len(datagram)
    if size > SIZE_LIMIT:
        raise OscError(413, "too_large", "", f"a packet may have {SIZE_LIMIT} bytes, this one has {size}")
    if size == 0 or size % 4:
        raise OscError(400, "bad_packet", "", f"the length of an OSC packet is a multiple of 4, not {size}")
    if datagram.startswith(b"/"):
        return Packet((Bundle(IMMEDIATELY, (_message(datagram, 0, size),)),))
    if datagram.startswith(_BUNDLE):
        return (yield from _Bundles(datagram).packet())
    raise OscError(400, "bad_packet", "", "an OSC packet begins with '/' or '#bundle'")


def _message(data: bytes, start: int, end: int) -> Message:
    """The message in `data[start:end]`; both are multiples of 4."""
    address, at = _string(data, start, end, "")
    if not address.startswith("/"):
        raise OscError(400, "bad_packet", "", "an OSC message begins with an address such as /demond/status")
    if at == end:
        return Message(address, ())  # some old senders leave the type tags out
    tags, at = _string(data, at, end, address)
    if not tags.startswith(","):
        raise OscError(400, "bad_packet", address, "the type tags after the address begin with a comma")
    if len(tags) > ARGUMENT_LIMIT + 1:
        raise OscError(413, "too_large", address, f"a message may have {ARGUMENT_LIMIT} arguments")
    arguments: list[Argument] = []
    for tag in tags[1:]:
        if fixed := _FIXED.get(tag):
            read, size = fixed
            if at + size > end:
                raise _cut_short(address)
            arguments.append(read(data, at)[0])
            at += size
        elif tag in "sS":
            text, at = _string(data, at, end, address)
            arguments.append(text)
        elif tag in _VALUES:
            arguments.append(_VALUES[tag])
        elif tag == "c":
            if at + 4 > end:
                raise _cut_short(address)
            code = _int32(data, at)[0]
            if not 0 < code < 0x80:
                raise OscError(400, "bad_args", address, f"a character (c) is one of ASCII, not number {code}")
            arguments.append(chr(code))
            at += 4
        else:
            what = _REFUSED.get(tag, f"an argument of type {tag!r}")
            raise OscError(400, "bad_args", address, f"{what} is not taken here; send i, f, d, h, s, T or F")
    if at != end:
        raise OscError(400, "bad_packet", address, f"{end - at} bytes follow the last argument")
    return Message(address, tuple(arguments))


def _string(data: bytes, start: int, end: int, address: str) -> tuple[str, int]:
    """The text at `start`, and where the next item begins."""
    stop = data.find(b"\0", start, end)
    if stop < 0:
        raise _cut_short(address)
    try:
        # Padding is to a multiple of 4 from the packet's start; `end` is one, so it is never passed.
        return data[start:stop].decode(), (stop + 4) & ~3
    except UnicodeDecodeError:
        raise OscError(400, "bad_packet", address, "a text in this message is not UTF-8") from None


def _cut_short(address: str) -> OscError:
    return OscError(400, "bad_packet", address, "the message ends inside an argument")


class _Bundles:
    """Walks through nested bundles, collecting by time tag. An inner bundle is never earlier than its outer one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._messages: dict[int, list[Message]] = {}
        self._errors: dict[int, list[OscError]] = {}
        self._count = 0

    def packet(self) -> Generator[None, None, Packet]:
        yield from self._walk(0, len(self._data), IMMEDIATELY, 1)
        return Packet(
            tuple(
                Bundle(tag, tuple(messages), tuple(self._errors.get(tag, ())))
                for tag, messages in self._messages.items()
            )
        )

    def _walk(self, start: int, end: int, outer: int, depth: int) -> Iterator[None]:
        if depth > DEPTH_LIMIT:
            raise OscError(413, "too_large", "", f"bundles may be nested {DEPTH_LIMIT} deep")
        if end - start < 16:
            raise OscError(400, "bad_packet", "", "a bundle has a time tag of 8 bytes after '#bundle'")
        tag = max(outer, _uint64(self._data, start + 8)[0])
        self._messages.setdefault(tag, [])
        at = start + 16
        while at < end:
            size = _int32(self._data, at)[0]
            at += 4
            if size <= 0 or size % 4 or at + size > end:
                raise OscError(400, "bad_packet", "", f"a bundle element of {size} bytes does not fit in its bundle")
            if self._data.startswith(_BUNDLE, at):
                yield from self._walk(at, at + size, tag, depth + 1)
            else:
                self._element(at, at + size, tag)
                if self._count % STEP == 0:
                    yield
            at += size

    def _element(self, start: int, end: int, tag: int) -> None:
        self._count += 1
        if self._count > MESSAGE_LIMIT:
            raise OscError(413, "too_large", "", f"a packet may hold {MESSAGE_LIMIT} messages")
        try:
            self._messages[tag].append(_message(self._data, start, end))
        except OscError as error:
            self._errors.setdefault(tag, []).append(error)


def encode(address: str, *arguments: Argument, wide: bool = False) -> bytes:
    """One message. Whole numbers are sent as `i` (as `h` where 32 bits do not hold them), decimal ones as `f`.

    With `wide`, decimal ones are sent as `d`.

    Raises `ValueError` for a text or address that holds a NUL, and for a number that its type cannot hold.
    """
    encoded = [_encode_argument(argument, wide) for argument in arguments]
    tags = "," + "".join(tag for tag, _ in encoded)
    return _encode_string(address) + _encode_string(tags) + b"".join(data for _, data in encoded)


def _encode_argument(argument: Argument, wide: bool) -> tuple[str, bytes]:
    if argument is None:
        return "N", b""
    if isinstance(argument, Impulse):
        return "I", b""
    if isinstance(argument, bool):
        return ("T" if argument else "F"), b""
    if isinstance(argument, str):
        return "s", _encode_string(argument)
    try:
        if isinstance(argument, float):
            if wide:
                return "d", bytes(osc_types.write_double(argument))
            return "f", bytes(osc_types.write_float(argument))
        if -(2**31) <= argument < 2**31:
            return "i", bytes(osc_types.write_int(argument))
        return "h", bytes(osc_types.write_int64(argument))
    except (osc_types.BuildError, OverflowError):
        raise ValueError(f"{argument!r} does not fit into an OSC number") from None


def _encode_string(text: str) -> bytes:
    if "\0" in text:
        raise ValueError("an OSC text cannot hold a NUL character")
    try:
        return bytes(osc_types.write_string(text))
    except osc_types.BuildError:
        raise ValueError("an OSC text must be encodable as UTF-8") from None


def encode_bundle(messages: Iterable[bytes], time_tag: int = IMMEDIATELY) -> bytes:
    """A bundle of encoded messages (or bundles) for `time_tag`."""
    elements = b"".join(struct.pack(">i", len(message)) + message for message in messages)
    return _BUNDLE + struct.pack(">Q", time_tag) + elements


def time_tag(unix_seconds: float) -> int:
    """The time tag of a moment on the wall clock, `time.time()`."""
    return int((unix_seconds + NTP_TO_UNIX) * 2**32)


def unix_seconds(time_tag: int) -> float:
    """The moment on the wall clock that `time_tag` stands for."""
    return time_tag / 2**32 - NTP_TO_UNIX
