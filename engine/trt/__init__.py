"""The network and the VAE as ONNX graphs, and TensorRT engines built of them ahead of time.

Called by `demond engine`, never by the tick loop: nothing here is imported while music plays. `graphs` says what is
exported, `export` writes it, `check` holds it against torch, `build` makes engines, `files` keeps what is known of
both.
"""
