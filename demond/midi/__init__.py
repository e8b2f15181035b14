"""MIDI: decoding of messages, and the process that holds the ports."""
