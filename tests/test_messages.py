"""The line between the daemon and its processes, over a real socket pair."""

import os
import socket

import pytest
from pydantic import ValidationError

from demond.messages import LIMIT, Channel, ChannelClosedError, Done, MidiIn, Progress, Request, Shutdown
from demond.setting import Prompt, SetPrompt


def prompt(number: int, text: str) -> Request:
    return Request(id=number, setting=SetPrompt(slot="a", prompt=Prompt(text=text)))


@pytest.fixture
def line():
    a, b = socket.socketpair()
    ends = Channel(a), Channel(b)
    yield ends
    for end in ends:
        end.close()


def test_messages_arrive_whole_and_in_order(line) -> None:
    sent = [prompt(i, "ambient\n" * i + "ü") for i in range(50)] + [Shutdown()]
    for message in sent:
        line[0].send(message)
    assert line[1].receive() == sent
    assert line[1].receive() == []


def test_what_a_slow_reader_cannot_take_waits_and_arrives(line) -> None:
    sent = [prompt(i, "x" * 3000) for i in range(200)]
    for message in sent:
        line[0].send(message)
    got = []
    while not line[0].flush() or len(got) < len(sent):
        got += line[1].receive()
    assert got == sent


def test_a_reader_that_has_stopped_is_an_error_and_no_endless_memory(line) -> None:
    def flood() -> None:
        for i in range(2 * LIMIT // 4000):
            line[0].send(prompt(i, "x" * 4096))

    with pytest.raises(ChannelClosedError, match="stopped reading"):
        flood()


def test_the_end_of_the_line_is_told_after_the_last_message(line) -> None:
    line[0].send(Done(id=3))
    line[0].close()
    assert line[1].receive() == [Done(id=3)]
    with pytest.raises(ChannelClosedError):
        line[1].receive()
    with pytest.raises(ChannelClosedError):
        line[1].send(Shutdown())


@pytest.mark.parametrize(
    "text", [b"{}", b"[]", b"nonsense", b'{"type":"shutdown","more":1}', b'{"type":"request","id":1}']
)
def test_a_line_that_is_no_message_is_refused(line, text: bytes) -> None:
    socket.socket(fileno=os.dup(line[0].fileno())).sendall(text + b"\n")
    with pytest.raises(ValidationError):
        line[1].receive()


def test_a_line_without_end_is_refused(line) -> None:
    raw = socket.socket(fileno=os.dup(line[0].fileno()))
    raw.setblocking(True)

    def flood() -> None:
        for _ in range(2 * LIMIT // (1 << 15)):
            raw.sendall(b"x" * (1 << 15))
            line[1].receive()

    with raw, pytest.raises(ChannelClosedError, match="longer than"):
        flood()


def test_messages_cannot_be_changed() -> None:
    message = MidiIn(port="p", data=("b00740",), time_ns=1)
    with pytest.raises(ValidationError):
        message.port = "q"
    assert Progress(stage="s", share=0.5) == Progress(stage="s", share=0.5)
