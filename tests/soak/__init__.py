"""A long set with a bad audience: the real daemon is treated badly at random for minutes, and watched for wear.

`make soak`, or `python -m tests.soak --minutes 15 --seed 1`. What it looks for shows only with time: memory, files
and threads that grow, messages that are never answered, a log that fills the disk, sound that stops coming.
"""
