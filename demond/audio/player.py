"""JACK's callbacks, as the audio process sets them: in C, or in Python where that cannot be had.

Both players offer the same few counters to the main thread and write the same words of the shared loop from JACK's
threads. The C one is set past JACK-Client's public functions, which would wrap it in Python; :func:`why_not_native`
says whether this JACK-Client has what is needed for that.
"""

from __future__ import annotations

import ctypes
from typing import Protocol

import jack

from demond import native
from demond.audio.loop import SharedLoop

_PLAYBACK_LATENCY = 1  # JackPlaybackLatency in jack/types.h
_FIRST_WORDS = ("shutdowns", "port_changes", "latency_changes", "leaving", "silent_cycles")


class Player(Protocol):
    """What the audio process's main thread needs of either player. It alone calls these."""

    @property
    def shutdowns(self) -> int:
        """Above 0 once the server has gone."""

    @property
    def port_changes(self) -> int:
        """Grows when any port comes or goes."""

    @property
    def latency_changes(self) -> int:
        """Grows when latencies or the period may have changed."""

    @property
    def silent_cycles(self) -> int:
        """How many of the last cycles in a row were faded out from end to end."""

    def leave(self) -> None:
        """Fades out in 50 ms and stays silent."""

    def lead(self, beat: float, usecs: float, bpm: float, meter: float, rolls: bool) -> str:
        """Says where the beat is: `beat` at the cycle that begins at `usecs` of JACK's clock.

        The first time it asks to be timebase master. Returns why it is none, or nothing.
        """

    def release(self) -> None:
        """Is no longer timebase master."""


class _LatencyRange(ctypes.Structure):
    _fields_ = (("min", ctypes.c_uint32), ("max", ctypes.c_uint32))


libjack = ctypes.CDLL(jack._libname)
"""The library that JACK-Client has loaded, for what it does not offer."""
libjack.jack_port_get_latency_range.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_LatencyRange)]
libjack.jack_port_get_latency_range.restype = None
libjack.jack_set_latency_callback.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]


def why_not_native() -> str | None:
    """None when the C callback can be set, or a sentence for the user."""
    if not native.available():
        return native.MISSING
    if not hasattr(native.library, "demond_timebase"):
        return (
            "demond's C library is older than its Python part: the JACK callback runs in Python, which is good from "
            "about 256 frames a period on; reinstall demond to have the fast one"
        )
    functions = (
        "process_callback",
        "xrun_callback",
        "port_registration_callback",
        "buffer_size_callback",
        "sample_rate_callback",
        "freewheel_callback",
    )
    needed = [f"jack_set_{name}" for name in functions] + ["jack_on_info_shutdown"]
    if not hasattr(jack, "_ffi") or not all(hasattr(getattr(jack, "_lib", None), name) for name in needed):
        return (
            f"this JACK-Client ({jack.__version__}) does not let a C callback in: it runs in Python, which is good "
            "from about 256 frames a period on; demond is tested with JACK-Client 0.5"
        )
    return None


def handle(pointer: object) -> int:
    """The address behind one of JACK-Client's client or port pointers."""
    return int(jack._ffi.cast("uintptr_t", pointer))


def playback_latency(port: jack.OwnPort) -> tuple[int, int]:
    """The least and most frames from `port` to the ear, as JACK knows them."""
    span = _LatencyRange()
    libjack.jack_port_get_latency_range(handle(port._ptr), _PLAYBACK_LATENCY, ctypes.byref(span))
    return span.min, span.max


def silence_libjack() -> None:
    """libjack prints each failed attempt on stderr; the audio process says it once, in words of its own."""
    if native.library is None:
        jack.set_error_function(lambda message: None)
        jack.set_info_function(lambda message: None)
        return
    for setter in (libjack.jack_set_error_function, libjack.jack_set_info_function):
        setter.argtypes = [ctypes.c_void_p]
        setter(_address(native.library.demond_on_message))


class NativePlayer:
    """The C player for one client. It must live as long as the client is open."""

    def __init__(self, loop: SharedLoop, client: jack.Client, ports: tuple[jack.OwnPort, jack.OwnPort]) -> None:
        """Sets all of JACK's callbacks on `client`, which is not yet active."""
        library = native.library
        if library is None:
            raise RuntimeError(native.MISSING)
        library.demond_player_size.restype = ctypes.c_uint64
        self._memory = ctypes.create_string_buffer(library.demond_player_size())
        self._player = ctypes.addressof(self._memory)
        library.demond_player_init.argtypes = [ctypes.c_void_p] * 7 + [ctypes.c_uint64] * 2
        library.demond_player_init.restype = None
        library.demond_player_init(
            self._player,
            loop.address(),
            handle(client._ptr),
            handle(ports[0]._ptr),
            handle(ports[1]._ptr),
            _address(libjack.jack_port_get_buffer),
            _address(libjack.jack_last_frame_time),
            client.samplerate,
            client.blocksize,
        )
        for function, kind, callback in (
            ("jack_set_process_callback", "JackProcessCallback", library.demond_process),
            ("jack_set_xrun_callback", "JackXRunCallback", library.demond_on_xrun),
            ("jack_set_port_registration_callback", "JackPortRegistrationCallback", library.demond_on_port),
            ("jack_set_buffer_size_callback", "JackBufferSizeCallback", library.demond_on_period),
            ("jack_set_sample_rate_callback", "JackSampleRateCallback", library.demond_on_rate),
            ("jack_set_freewheel_callback", "JackFreewheelCallback", library.demond_on_freewheel),
            ("jack_on_info_shutdown", "JackInfoShutdownCallback", library.demond_on_shutdown),
        ):
            pointer = jack._ffi.cast(kind, _address(callback))
            if getattr(jack._lib, function)(client._ptr, pointer, jack._ffi.cast("void*", self._player)):
                raise jack.JackError(f"{function} failed")
        libjack.jack_set_latency_callback(handle(client._ptr), _address(library.demond_on_latency), self._player)
        library.demond_player_lead.argtypes = [ctypes.c_void_p] * 2 + [ctypes.c_double] * 4 + [ctypes.c_int]
        library.demond_player_lead.restype = None
        self._library, self._client, self._leads = library, client, False

    def _word(self, name: str) -> int:
        return self._player + 8 * _FIRST_WORDS.index(name)

    @property
    def shutdowns(self) -> int:
        """See :class:`Player`."""
        return native.load_u64(self._word("shutdowns"))

    @property
    def port_changes(self) -> int:
        """See :class:`Player`."""
        return native.load_u64(self._word("port_changes"))

    @property
    def latency_changes(self) -> int:
        """See :class:`Player`."""
        return native.load_u64(self._word("latency_changes"))

    @property
    def silent_cycles(self) -> int:
        """See :class:`Player`."""
        return native.load_u64(self._word("silent_cycles"))

    def leave(self) -> None:
        """See :class:`Player`."""
        native.store_u64(self._word("leaving"), 1)

    def lead(self, beat: float, usecs: float, bpm: float, meter: float, rolls: bool) -> str:
        """See :class:`Player`. Nobody else's timebase is taken away."""
        times = _address(libjack.jack_get_cycle_times)
        self._library.demond_player_lead(self._player, times, beat, usecs, bpm, meter, rolls)
        if not self._leads:
            callback = jack._ffi.cast("JackTimebaseCallback", _address(self._library.demond_timebase))
            argument = jack._ffi.cast("void*", self._player)
            self._leads = jack._lib.jack_set_timebase_callback(self._client._ptr, 1, callback, argument) == 0
        return "" if self._leads else "another client of JACK is timebase master"

    def release(self) -> None:
        """See :class:`Player`."""
        if self._leads:
            jack._lib.jack_release_timebase(self._client._ptr)
            self._leads = False


def _address(function: object) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
