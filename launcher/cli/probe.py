"""Is the launcher of this place alive, started, ready?

Asked every few seconds for years by HEALTHCHECK and kubelet, so it imports neither click nor the settings.
"""

from __future__ import annotations

import os
import sys

PATHS = {"live": "/livez", "ready": "/readyz", "startup": "/startupz"}
_NOT = {"live": "not alive", "ready": "not ready", "startup": "not started"}
_VALUES = ("--pid", "--socket", "--runtime-dir")
_WAIT_S = 5.0  # ten times what the monitor may take (500 ms)
_OK, _UNAVAILABLE = 200, 503
_YES, _NO, _INTERRUPTED = 0, 1, 130


def quick(words: list[str]) -> int | None:
    """Answer `launcher health WORDS...` and return the exit code; None for words that need click: help, mistakes."""
    probes: list[str] = []
    verbose = False
    given: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word in PATHS:
            probes.append(word)
        elif word in ("-v", "--verbose"):
            verbose = True
        elif name in _VALUES and name not in given:
            given[name] = value if equals else next(rest, "")
        else:
            return None
    pid = given.get("--pid")
    if len(probes) > 1 or "" in given.values() or not (pid is None or pid.isdecimal()):
        return None
    if "--socket" in given and len(given) > 1:
        return None
    try:
        return answer(
            probes[0] if probes else "ready",
            verbose=verbose,
            pid=None if pid is None else int(pid),
            address=given.get("--socket"),
            runtime_dir=given.get("--runtime-dir"),
        )
    except KeyboardInterrupt:
        return _INTERRUPTED


def answer(probe: str, *, verbose: bool, pid: int | None, address: str | None, runtime_dir: str | None) -> int:
    """Print the lines if `verbose`, why not on stderr, and return 0 or 1: Docker has reserved every other code."""
    from launcher.errors import LauncherError
    from launcher.instances import find
    from launcher.instances.asking import get  # here, so that `launcher health --help` does without

    try:
        reply = get(find(os.environ, runtime_dir, pid, address).address, f"{PATHS[probe]}?verbose", _WAIT_S)
    except LauncherError as error:
        return _no(probe, "; ".join([error.message, *error.detail.splitlines()]))
    except OSError as error:
        return _no(probe, f"the launcher does not answer: {error.strerror or error}")
    text = _printable(reply.body.decode(errors="replace"))
    if verbose:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    if reply.status == _OK:
        return _YES
    failed = [line[3:] for line in text.splitlines() if line.startswith("[-]")]
    return _no(probe, "; ".join(failed) if reply.status == _UNAVAILABLE else f"the launcher answered {reply.status}")


def _no(probe: str, because: str) -> int:
    sys.stderr.write(f"{_NOT[probe]}: {because or 'no reason was given'}\n")
    sys.stderr.flush()
    return _NO


def _printable(text: str) -> str:
    """Leave out what would steer a terminal: a check's text may quote what somebody else has said."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)
