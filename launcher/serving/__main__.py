"""Which server does this process become?

`python -P -m launcher.serving SERVER OPTIONS APP`, executed by `launcher.boot.handover` in the launcher's process.
"""

from __future__ import annotations

import os
import sys

from launcher.serving.crossed import Crossed


def main() -> None:
    """Run the server that the first argument names; the rest are that server's own words."""
    server, *sys.argv[1:] = sys.argv[1:]
    crossed = Crossed.read(os.environ)
    sys.path.insert(0, crossed.import_dir)
    if server == "gunicorn":
        from launcher.serving.gunicorn import serve
    else:
        from launcher.serving.uvicorn import serve
    serve(crossed)


if __name__ == "__main__":  # uvicorn's spawned workers import this file under another name
    main()
