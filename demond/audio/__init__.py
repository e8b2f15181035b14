"""The audio process, and the playback loop that it shares with the engine and the daemon."""
