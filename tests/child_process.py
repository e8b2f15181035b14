"""A process for the supervisor's tests: does what its argument says, over a real channel."""

import argparse
import select
import signal
import sys
import time

from demond.messages import Channel, ChannelClosedError, Done, Progress, Request, Shutdown


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int)
    parser.add_argument("behaviour", choices=["echo", "crash", "deaf", "babble"])
    arguments = parser.parse_args()
    channel = Channel.from_fd(arguments.fd)
    channel.send(Progress(stage="started", share=1))
    if arguments.behaviour == "crash":
        sys.exit(3)
    if arguments.behaviour == "babble":
        channel._socket.send(b"this is no message\n")
    if arguments.behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
    while True:
        select.select([channel], [], [])
        try:
            messages = channel.receive()
        except ChannelClosedError:
            return
        for message in messages:
            if isinstance(message, Shutdown):
                return
            if isinstance(message, Request):
                channel.send(Done(id=message.id, message=message.setting.prompt.text))


if __name__ == "__main__":
    main()
