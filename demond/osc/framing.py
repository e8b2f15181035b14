"""OSC packets in a byte stream: the size count of OSC 1.0 and the SLIP of OSC 1.1, told apart by the first byte.

Used by `demond.osc.tcp` and its tests. A packet is never longer than over UDP, so a size count begins with a zero
byte and never with END.

Sources: OSC 1.0 specification, "OSC Packets", for the size as int32; Freed and Schmeder, "Features and Future of Open
Sound Control version 1.1", NIME 2009, for SLIP (RFC 1055) with an END before and after each packet.
"""

from __future__ import annotations

import re
import struct
from enum import Enum

from demond.osc.codec import SIZE_LIMIT, OscError

END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD
_BAD_ESCAPE = re.compile(b"\xdb(?![\xdc\xdd])")


class Framing(Enum):
    """How packets are told apart in a stream."""

    SIZE = "size"
    SLIP = "slip"

    def wrap(self, packet: bytes) -> bytes:
        """`packet` as it goes into the stream."""
        if self is Framing.SIZE:
            return struct.pack(">i", len(packet)) + packet
        escaped = packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc")
        return b"\xc0" + escaped + b"\xc0"


class LostTrackError(OscError):
    """Where the next packet begins is not to be known any more: the connection can only be closed."""


class Unframer:
    """Bytes in, packets out. It keeps no more than one packet's worth of what is not complete."""

    def __init__(self) -> None:
        """The framing is not known yet."""
        self.framing: Framing | None = None
        self._bytes = bytearray()
        self._skipping = False
        """In SLIP, all up to the next END is of a packet that was refused."""

    def __len__(self) -> int:
        """Bytes that wait."""
        return len(self._bytes)

    def feed(self, data: bytes) -> None:
        """What came from the network."""
        self._bytes += data

    def next(self) -> bytes | None:
        """The next packet, or None until more has come.

        Raises :class:`OscError` for a packet that is refused, after which the next one can be asked for;
        :class:`LostTrackError` where there is no next one.
        """
        if not self._bytes:
            return None
        if self.framing is None:
            self.framing = Framing.SLIP if self._bytes[0] == END else Framing.SIZE
        return self._next_counted() if self.framing is Framing.SIZE else self._next_slip()

    def _next_counted(self) -> bytes | None:
        if len(self._bytes) < 4:
            return None
        (size,) = struct.unpack_from(">i", self._bytes)
        if size > SIZE_LIMIT:
            raise LostTrackError(413, "too_large", "", f"a packet may have {SIZE_LIMIT} bytes, not {size}")
        if size <= 0 or size % 4:
            words = f"an OSC packet has a multiple of 4 bytes, not {size}; begin with its size as int32, or with SLIP"
            raise LostTrackError(400, "bad_packet", "", words)
        if len(self._bytes) < 4 + size:
            return None
        packet = bytes(self._bytes[4 : 4 + size])
        del self._bytes[: 4 + size]
        return packet

    def _next_slip(self) -> bytes | None:
        while True:
            end = self._bytes.find(END)
            if end < 0:
                if self._skipping:
                    self._bytes.clear()
                elif len(self._bytes) > 2 * SIZE_LIMIT:
                    self._bytes.clear()
                    self._skipping = True
                    raise OscError(413, "too_large", "", f"a packet may have {SIZE_LIMIT} bytes")
                return None
            frame = bytes(self._bytes[:end])
            del self._bytes[: end + 1]
            if self._skipping:
                self._skipping = False
            elif frame:
                break
        if _BAD_ESCAPE.search(frame):
            raise OscError(400, "bad_packet", "", "in SLIP a byte 0xDB is followed by 0xDC or 0xDD")
        return frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
