"""How does a process get a wall clock that jumps, and nothing else that is another's?

A library that is loaded before libc moves what tells the time of day by as many seconds as a mapped file says. Waits
are left alone: libfaketime, which intercepts them too, made helper threads late on a busy machine.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_SOURCE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *ahead;

__attribute__((constructor)) static void map(void)
{
    int file = open(getenv("JUMPING_CLOCK"), O_RDONLY | O_CLOEXEC);
    void *found = mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
    if (found == MAP_FAILED)
        abort();
    close(file);
    ahead = found;
}

int clock_gettime(clockid_t which, struct timespec *now)
{
    int status = syscall(SYS_clock_gettime, which, now);
    if (status == 0 && ahead && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
    return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int status = syscall(SYS_gettimeofday, now, zone);
    if (status == 0 && ahead)
        now->tv_sec += *ahead;
    return status;
}

time_t time(time_t *told)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (told)
        *told = now.tv_sec;
    return now.tv_sec;
}
"""


class JumpingClock:
    """The clock of whoever is started with `env`."""

    def __init__(self, folder: Path) -> None:
        """Build the library in a folder; the clock is right. Fails the test where there is no compiler."""
        if shutil.which("gcc") is None:
            pytest.fail("no gcc on this machine: apt-get install gcc libc6-dev", pytrace=False)
        source, library, self._ahead = (folder / f"jumping_clock.{end}" for end in ("c", "so", "seconds"))
        source.write_text(_SOURCE)
        self._ahead.write_bytes(struct.pack("=q", 0))
        words = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", str(library), str(source)]
        subprocess.run(words, check=True)
        self.env = {"LD_PRELOAD": str(library), "JUMPING_CLOCK": str(self._ahead)}

    def jump(self, seconds: int) -> None:
        """Be so many seconds ahead of the real clock from now on, in all processes."""
        with self._ahead.open("r+b") as file:
            file.write(struct.pack("=q", seconds))
