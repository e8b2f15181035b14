"""A process that speaks as the engine does, and does what the paths in its requests are called."""

from __future__ import annotations

import argparse
import os
import select
import signal

from demond.messages import Channel, ChannelClosedError, Done, Failed, Fatal, Ready, Request, Shutdown, StartEngine
from demond.session import Session


def ready(session: Session) -> Ready:
    auto = session.depth == "auto"
    return Ready(
        model=session.path("timbre") or "none",
        backend="none",
        device="none",
        loop_seconds=1,
        depth=3 if session.depth == "auto" else session.depth,
        steps=session.steps or 0,
        advice="depth 3 was chosen" if auto else "",
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int)
    parser.add_argument("--doorbell", type=int)
    channel = Channel.from_fd(parser.parse_args().fd)
    session = Session()
    while True:
        select.select([channel], [], [])
        try:
            messages = channel.receive()
        except ChannelClosedError:
            return
        for message in messages:
            match message:
                case StartEngine():
                    session = Session(message.settings)
                    if "/gone" in (session.path("timbre"), session.path("structure")):
                        channel.send(Fatal(message="/gone is gone", about=("source", "timbre", "structure")))
                        return
                    channel.send(ready(session))
                case Request(setting=setting) if setting.files == ("/deadly",):
                    os.kill(os.getpid(), signal.SIGKILL)
                case Request(setting=setting) if setting.files == ("/bad",):
                    channel.send(Failed(id=message.id, message="/bad is bad"))
                case Request():
                    session.put(message.setting)
                    channel.send(ready(session))
                    channel.send(Done(id=message.id, message="taken"))
                case Shutdown():
                    return
                case _:
                    raise RuntimeError(message.type)


if __name__ == "__main__":
    main()
