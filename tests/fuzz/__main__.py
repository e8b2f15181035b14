"""`python -m tests.fuzz --count 100000 --seed 1`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from tests.fuzz import ErrorLog, datagrams, files, streams


def main() -> int:
    """The program; its exit status is 1 if anything raised or was logged as an error."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--count", type=int, default=100_000, help="inputs in all")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    # A file takes a hundred times as long as a datagram, so there are fewer of them.
    osc, yaml, streams_count = arguments.count // 2, arguments.count // 10, arguments.count // 10
    with ErrorLog() as log:
        tallies = [
            asyncio.run(datagrams.run(osc, arguments.seed)),
            asyncio.run(streams.run(streams_count, arguments.seed)),
            asyncio.run(streams.run_query(streams_count, arguments.seed)),
            files.run(yaml, arguments.seed),
            files.run_midi(arguments.count - osc - 2 * yaml - 2 * streams_count, arguments.seed),
            files.run_assembly(yaml, arguments.seed),
        ]
    for tally in tallies:
        sys.stdout.write(tally.line() + "\n")
    exceptions = [line for tally in tallies for line in tally.exceptions]
    for line in (*dict.fromkeys(exceptions), *dict.fromkeys(log.records)):
        sys.stdout.write(f"  {line}\n")
    total = sum(tally.inputs for tally in tallies)
    seconds = sum(tally.seconds for tally in tallies)
    sys.stdout.write(
        f"{total:,} inputs in {seconds:.0f} s, seed {arguments.seed}: exceptions={len(exceptions)}, "
        f"errors in the log={len(log.records)}\n"
    )
    return 1 if exceptions or log.records else 0


if __name__ == "__main__":
    sys.exit(main())
