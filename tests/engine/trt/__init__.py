"""Exported graphs against torch, and engines built of them without a GPU."""
