"""Whether the built-in model is good enough to ship: requests, measures and thresholds.

`python -m engine.embedded.gate` prints asked, got and gate for every row; the training programs print the same
measures over fewer requests while they run.
"""
