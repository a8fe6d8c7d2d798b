"""What does wrk see of a server?

wrk has no fixed number of requests: it counts, and what is compared is divided by its count. What was under way when
it stopped (one request a connection) is not in it, on either side.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

CONNECTIONS = 32
_COUNTED = re.compile(r"(\d+) requests in ")
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_P99 = re.compile(r"99%\s+([\d.]+)(us|ms|s)\s")
_FAILED = re.compile(r"Socket errors: .*|Non-2xx or 3xx responses: .*")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk has counted."""

    requests: int
    rate: float  # requests a second
    p99_s: float


def load(url: str, duration_s: int, cpu: int | None) -> Load:
    """Ask for `url` without a pause, over kept connections, from one thread. RuntimeError when a request fails."""
    pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
    wrk = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{duration_s}s", "--latency", url]
    output = subprocess.run([*pinned, *wrk], capture_output=True, text=True, check=True).stdout
    counted, rate, p99 = (pattern.search(output) for pattern in (_COUNTED, _RATE, _P99))
    if not (counted and rate and p99) or _FAILED.search(output):
        raise RuntimeError(output)
    return Load(int(counted[1]), float(rate[1]), float(p99[1]) * _SECONDS[p99[2]])
