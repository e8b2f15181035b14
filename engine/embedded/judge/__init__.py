"""Measurements of music: tempo, key, style, fidelity, clicks. Called by training, by the gate and by the tests.

Each page has pure functions over audio [B,2,N] at 48 kHz; what they return and on which scale stands with each.
"""
