"""What `demond ports` lists: the JACK ports that demond can meet. It runs in the command's own process."""

from __future__ import annotations

import jack


class NoServerError(ConnectionError):
    """No JACK server answers."""


def list_ports(server: str | None) -> dict[str, list[str]]:
    """Names of ports in four groups; the first two take demond's sound, the last two give it MIDI and show itself.

    Raises :class:`NoServerError`.
    """
    try:
        client = jack.Client("demond-ports", no_start_server=True, servername=server)
    except jack.JackOpenError as error:
        named = f" named {server}" if server else ""
        raise NoServerError(
            f"no JACK server{named} answers; start yours, or `demond run`, which starts one"
        ) from error
    try:
        outputs = client.get_ports(is_audio=True, is_input=True)
        return {
            "audio_outputs": [port.name for port in outputs if port.is_physical],
            "audio_inputs_of_programs": [port.name for port in outputs if not port.is_physical],
            "midi_sources": [port.name for port in client.get_ports(is_midi=True, is_output=True)],
            "demond": [port.name for port in client.get_ports("^demond")],
        }
    finally:
        client.close()
