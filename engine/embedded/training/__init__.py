"""How the built-in model was made: programs for one GPU, in commands of under ten minutes that resume each other.

    python -m engine.embedded.training.vae --minutes 5 --out run --init engine/embedded/checkpoint
    python -m engine.embedded.training.dit --minutes 9 --out run --init engine/embedded/checkpoint
    python -m engine.embedded.training.dit --minutes 9 --out run --resume run

`--out` becomes a checkpoint folder that the engine plays. Both say what they find and print the gate's measures as
they go; both run on a CPU too, slowly (`--tiny` makes the steps small, for the tests). All music is synthesised while
they run; nothing is downloaded.
"""
