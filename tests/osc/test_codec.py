from __future__ import annotations

import math
import socket
import struct
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pythonosc.osc_message import OscMessage

from demond.osc.codec import (
    IMMEDIATELY,
    IMPULSE,
    SIZE_LIMIT,
    Argument,
    Message,
    OscError,
    encode,
    encode_bundle,
    parse,
    time_tag,
    unix_seconds,
)


def refused(datagram: bytes) -> OscError:
    with pytest.raises(OscError) as caught:
        parse(datagram)
    return caught.value


def raw(address: bytes, tags: bytes, data: bytes = b"") -> bytes:
    def pad(text: bytes) -> bytes:
        return text + b"\0" * (4 - len(text) % 4)

    return pad(address) + pad(tags) + data


float32s = st.floats(width=32, allow_nan=False)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
arguments = st.lists(
    st.booleans() | st.none() | texts | float32s | st.integers(-(2**63), 2**63 - 1) | st.just(IMPULSE), max_size=8
)


@given(arguments)
def test_what_is_encoded_is_parsed_back(given_arguments: list[Argument]) -> None:
    assert parse(encode("/a/b", *given_arguments)).messages == (Message("/a/b", tuple(given_arguments)),)


@given(arguments.filter(lambda a: IMPULSE not in a))
def test_python_osc_reads_what_is_encoded(given_arguments: list[Argument]) -> None:
    message = OscMessage(encode("/a/b", *given_arguments))
    assert (message.address, message.params) == ("/a/b", given_arguments)


def test_every_type_that_is_taken() -> None:
    data = struct.pack(">ifdqi", 1, 0.5, 0.25, 2**40, ord("x")) + b"one\0two\0"
    message = raw(b"/x", b",ifdhcsSTFNI", data)
    expected = (1, 0.5, 0.25, 2**40, "x", "one", "two", True, False, None, IMPULSE)
    assert parse(message).messages[0].arguments == expected


def test_a_message_without_type_tags_has_no_arguments() -> None:
    assert parse(b"/abc\0\0\0\0").messages == (Message("/abc", ()),)


@pytest.mark.parametrize(
    ("datagram", "code", "words"),
    [
        (b"", 400, "multiple of 4"),
        (b"/ab", 400, "multiple of 4"),
        (b"/abc" * 2, 400, "ends inside"),
        (b"abc\0", 400, "begins with '/' or '#bundle'"),
        (b"\0" * 8, 400, "begins with '/'"),
        (raw(b"/x", b"f"), 400, "begin with a comma"),
        (raw(b"/x", b",f"), 400, "ends inside"),
        (raw(b"/x", b",d", b"\0\0\0\0"), 400, "ends inside"),
        (raw(b"/x", b",s", b"abcd"), 400, "ends inside"),
        (raw(b"/x", b",s", b"\xff\xfe\0\0"), 400, "not UTF-8"),
        (raw(b"/x", b",c", b"\0\0\x20\xac"), 400, "a character (c) is one of ASCII"),
        (raw(b"/x", b",", b"\0\0\0\0"), 400, "4 bytes follow the last argument"),
        (raw(b"/x", b",b", b"\0\0\0\x04abcd"), 400, "a blob is not taken"),
        (raw(b"/x", b",[i]", b"\0\0\0\1"), 400, "an array is not taken"),
        (raw(b"/x", b",q"), 400, "an argument of type 'q' is not taken"),
        (raw(b"/x", b"," + b"T" * 5000), 413, "4096 arguments"),
        (b"/" + b"a" * (SIZE_LIMIT + 1), 413, "65507 bytes"),
        (b"#bundle\0", 400, "time tag of 8 bytes"),
    ],
)
def test_each_bad_datagram_has_its_words(datagram: bytes, code: int, words: str) -> None:
    error = refused(datagram)
    assert error.code == code
    assert words in error.message


@pytest.mark.parametrize("size", [-4, 0, 3, 8, 2**31 - 4])
def test_a_bundle_element_of_impossible_size_is_refused(size: int) -> None:
    bundle = b"#bundle\0" + struct.pack(">Qi", 1, size)
    assert f"{size} bytes does not fit" in refused(bundle).message


def test_bundles_may_be_nested_four_deep() -> None:
    bundle = encode("/x", 1)
    for _ in range(4):
        bundle = encode_bundle([bundle])
    assert parse(bundle).messages == (Message("/x", (1,)),)
    assert refused(encode_bundle([bundle])).code == 413


def test_a_packet_holds_at_most_1024_messages() -> None:
    assert len(parse(encode_bundle([encode("/x")] * 1024)).messages) == 1024
    assert refused(encode_bundle([encode("/x")] * 1025)).code == 413


def test_a_bad_message_does_not_take_its_bundle_with_it() -> None:
    (bundle,) = parse(encode_bundle([encode("/a", 1), raw(b"/b", b",q"), encode("/c", 2)])).bundles
    assert [message.address for message in bundle.messages] == ["/a", "/c"]
    assert [error.address for error in bundle.errors] == ["/b"]


def test_messages_are_gathered_by_time_and_an_inner_bundle_is_never_earlier() -> None:
    early, late = time_tag(1000), time_tag(2000)
    inner = encode_bundle([encode("/inner")], early)
    packet = parse(encode_bundle([encode("/a"), inner, encode("/b")], late))
    assert [(b.time_tag, [m.address for m in b.messages]) for b in packet.bundles] == [(late, ["/a", "/inner", "/b"])]
    packet = parse(encode_bundle([encode("/a"), encode_bundle([encode("/later")], late)], early))
    assert [bundle.time_tag for bundle in packet.bundles] == [early, late]


def test_time_tags_count_from_1900() -> None:
    assert time_tag(0) == 2_208_988_800 << 32
    assert unix_seconds(time_tag(1_700_000_000.25)) == pytest.approx(1_700_000_000.25)
    assert IMMEDIATELY == 1


@pytest.mark.parametrize("bad", ["a\0b", "\ud800", 2**63, 1e300])
def test_what_does_not_fit_into_osc_is_not_encoded(bad: Argument) -> None:
    with pytest.raises(ValueError, match="OSC"):
        encode("/x", bad)


def test_a_float_argument_may_be_infinite_but_is_told_apart() -> None:
    value = parse(encode("/x", math.inf)).messages[0].arguments[0]
    assert value == math.inf


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parse(data)
    except OscError as error:
        assert 400 <= error.code < 500  # noqa: PT017 - either outcome is right, this one has a code


def test_reading_a_huge_message_takes_no_time_to_speak_of() -> None:
    datagram = raw(b"/" + b"x" * 30_000, b",s" + b"i" * 1000, b"y" * 25_999 + b"\0" + b"\0\0\0\1" * 1000)
    began = time.perf_counter()
    parse(datagram)
    assert time.perf_counter() - began < 0.05


def test_oscsend_writes_what_is_read_here() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        port = str(receiver.getsockname()[1])
        types, values = "ifdhsTFNI", ["1", "0.5", "0.25", "1099511627776", "two words"]
        subprocess.run(["oscsend", "127.0.0.1", port, "/x", types, *values], check=True)
        message = parse(receiver.recv(65536)).messages[0]
    assert message.arguments[:5] == (1, 0.5, 0.25, 2**40, "two words")
    assert message.arguments[5:] == (True, False, None, IMPULSE)
