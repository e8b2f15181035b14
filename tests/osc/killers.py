"""Datagrams that are known to have stopped OSC servers, and the like of them."""

from __future__ import annotations

import struct
import time

from demond.osc.codec import encode, encode_bundle, time_tag


def _element(size: int, data: bytes = b"") -> bytes:
    return b"#bundle\0" + struct.pack(">Qi", 1, size) + data


def _nested(depth: int) -> bytes:
    bundle = encode("/demond/knob/denoise", 0.5)
    for _ in range(depth):
        bundle = encode_bundle([bundle])
    return bundle


KILLERS: dict[str, bytes] = {
    "a negative element size, which python-osc goes back by for ever": _element(-4),
    "an element of no bytes, which some parsers never pass": _element(0),
    "an element that ends beyond the packet": _element(2**31 - 4),
    "an exponential regular expression": encode("/" + "*a" * 200 + "b"),
    "a pattern in braces": encode("/demond/{knob,prompt}/" + "{,a,b}" * 32, 1),
    "a pattern that does not end": encode("/demond/knob/[a-", 1),
    "any depth, many times": encode("//*" * 80, 1),
    "a time in the year 2036, which python-osc sleeps until": encode_bundle([encode("/x", 1)], 2**64 - 1),
    "a time in an hour": encode_bundle([encode("/demond/knob/denoise", 0.5)], time_tag(time.time() + 3600)),
    "nested two thousand deep": _nested(2000),
    "bad UTF-8 in the address": b"/\xff\xfe\xfd\0\0\0\0,\0\0\0",
    "bad UTF-8 in a text": b"/demond/prompt/a/text\0\0\0,s\0\0\xff\xfe\xfd\0",
    "not a number": encode("/demond/knob/denoise", float("nan")),
    "endless": encode("/demond/knob/denoise", float("inf")),
    "a double beyond a float": b"/demond/knob/denoise\0\0\0\0,d\0\0" + struct.pack(">d", 1e308),
    "type tags without arguments": b"/demond/knob/denoise\0\0\0\0,ffffff\0",
    "a blob of negative size": b"/demond/knob/denoise\0\0\0\0,b\0\0" + struct.pack(">i", -1),
    "arrays that do not end": b"/demond/knob/denoise\0\0\0\0,[[[[[[\0",
    "no terminating zero": b"/aaaaaaa" * 8,
    "nothing": b"",
    "one byte": b"/",
    "zeros": bytes(64),
    "the largest packet": b"/" + b"a" * 65_503 + b"\0\0\0",
    "ten thousand arguments": b"/x\0\0," + b"T" * 10_000 + b"\0\0\0",
    "a prompt with everything in it": encode("/demond/prompt/a/text", "\u202e\ufeff'\";--\n%s{}\x1b[2J" * 100),
}
"""What each one is, and its bytes. All but the well-formed settings must be answered with an error."""
