"""What moves knobs besides hands: scenes and morphs between them, LFOs, recorded gestures, and the tempo they keep.

The daemon owns one :class:`~demond.scenes.stage.Stage`. Nothing here knows of MIDI ports, sockets or the engine.
"""
