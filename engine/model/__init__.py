"""The network as we run it, and how its weights are read from a checkpoint folder."""
