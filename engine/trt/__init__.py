"""The network and the VAE as ONNX graphs, and TensorRT engines of them: built ahead of time, taken apart, and run.

Called by `demond engine`, and by the TensorRT backend. `graphs` says what is exported, `latents` and `quantize` make
INT8 of it, `export` writes it, `check` holds it against torch, `build` makes engines, `files` keeps what is known of
both, `layers` and `profile` take engines apart; `shelf` finds them, `runtime` runs them, `decoder` is a VAE with one.
"""
