"""Which server does this process become?

`python -P -m launcher.serving SERVER OPTIONS APP`, executed by `launcher.boot.handover` in the launcher's process.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from typing import NoReturn

from launcher import notify
from launcher.errors import ExitCode
from launcher.log import configure_child
from launcher.serving.crossed import Crossed
from launcher.serving.ended import End


class StoppedError(BaseException):
    """TERM or INT came before the server had handlers of its own; no `except Exception` of an application stops it."""


def main() -> None:
    """Run the server that the first argument names; the rest are that server's own words."""
    for signum in (signal.SIGTERM, signal.SIGINT):  # PID 1 has no defaults: a stop during a long import would be lost
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _stop)
    end = End()
    try:
        _serve(end)
    except StoppedError:
        end.tell(ExitCode.OK)
        sys.exit(ExitCode.OK)
    except SystemExit as leaving:
        end.tell(leaving.code)
        raise


def _serve(end: End) -> None:
    server, *sys.argv[1:] = sys.argv[1:]
    crossed = dataclasses.replace(Crossed.read(os.environ), notifier=notify.take())
    end.monitor = crossed.monitor
    signal.pthread_sigmask(signal.SIG_UNBLOCK, crossed.held_signals)
    configure_child(crossed.log)
    sys.path.insert(0, crossed.import_dir)
    if server == "gunicorn":
        from launcher.serving.gunicorn.application import serve
    else:
        from launcher.serving.uvicorn.command import serve
    serve(crossed)


def _stop(*_: object) -> NoReturn:
    raise StoppedError


if __name__ == "__main__":  # uvicorn's spawned workers import this file under another name
    main()
