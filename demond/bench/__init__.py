"""Measurements that a user can repeat: each drives the real daemon on a real JACK server and reads no internals."""
