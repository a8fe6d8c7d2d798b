"""What goes into the sum?

Sizes are bytes throughout. The numbers that stand for what has not been measured are here, each with where it is from.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2
# Heroku's buildpack divides a dyno's memory by this much; a stated guess until a worker has been measured.
DEFAULT_WORKER_BYTES = 256 * MIB
DEFAULT_WORKER_SOURCE = "default, a guess until measured"
# Less is no web application: a small one was measured at 33 MB after traffic, and may grow by 16 MiB.
LEAST_WORKER_BYTES = 64 * MIB
# gunicorn's arbiter without preload was measured at 34 MB resident; room for its page tables and our own thread.
ARBITER_BYTES = 64 * MIB
# The monitor was measured at 9.5 to 11 MB of its own (docs/concepts/monitor.md), more while many clients ask at once:
# so this is the least, whatever it has when it is looked at.
MONITOR_BYTES = 12 * MIB
# The code of the libraries in use, which the kernel can drop but must read again at once: 16 to 48 MB were measured.
FILES_BYTES = 16 * MIB
# A worker after its first requests grows on: by a quarter, a small one by this much at least.
GROWTH_BYTES = 16 * MIB
GROWTH_DIVISOR = 4
# The kernel kills at a limit; on a host without one the rest of the machine needs its part.
SHARE_OF_LIMIT = 0.8
SHARE_OF_HOST = 0.5
HEADROOM_BYTES = 32 * MIB  # page tables, sockets and the kernel's own do not shrink with the limit


@dataclass(frozen=True, slots=True)
class Supply:
    """What kernel and platform give: bytes and CPUs, each with its source (`launcher.limits.supply` fills it)."""

    memory_bytes: int
    memory_source: str
    memory_is_limited: bool
    cpus: float
    cpus_source: str
    cpus_are_limited: bool
    platform: str


@dataclass(frozen=True, slots=True)
class Measured:
    """What a pool was measured at: bytes, and when.

    `worker_bytes` is what a worker has for itself, `peak_bytes` the most one ever had (at least as much).
    `shared_bytes` is the arbiter with what workers share with it, `files_bytes` the mapped files, `shmem_bytes` what
    lies in shared memory (/dev/shm, tmpfs), `monitor_bytes` what the monitor has (0: nobody looked). `source` is for
    people: "measured at this start". `provisional` is True until requests have been answered.
    """

    worker_bytes: int
    shared_bytes: int
    peak_bytes: int
    files_bytes: int
    shmem_bytes: int
    source: str
    provisional: bool
    monitor_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Demand:
    """What was asked for; None is "not said".

    `workers` wins over the sum; `max_workers` caps the computed number only; both at least 1. `workers_per_core` is
    the retired images' setting. `memory`: a float in (0, 1] is a share of the limit, an int is bytes.
    `worker_estimate_bytes` is what one worker needs, at least 1; it wins over what was `measured`.
    """

    workers: int | None = None
    workers_origin: str = "--workers"
    max_workers: int | None = None
    workers_per_core: float | None = None
    memory: float | int | None = None
    memory_origin: str = "default"
    worker_estimate_bytes: int | None = None
    worker_estimate_origin: str = "--worker-memory-estimate"
    allow_overcommit: bool = False
    preload: bool = False
    measured: Measured | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """One term of the sum, in bytes.

    `limit`, then what is taken from it: `headroom`, `arbiter` (guessed) or `shared` and `files` (measured), `shmem`
    (if any), `monitor`, `reload` (with --preload); then what one worker takes: `worker` and `growth` (measured).
    """

    name: str
    bytes: int
    source: str
