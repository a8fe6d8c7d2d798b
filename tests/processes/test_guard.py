"""Is a step followed faithfully to its end, and does nothing of it outlive the launcher?"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from support import one_step
from support.reaping import alive, describe
from support.signals import numbers
from support.waiting import until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.spawning import Spawner

LAST_WORDS = 200
ROUNDS = 20
GUARD = "guard.py"
TOO_LATE_S = 10.0

# A step as a start script has it, with what a careless one leaves: a child, a daemon that left the session, and a
# daemon of a process that has ended. All of them are deaf to TERM.
STUBBORN = """
trap '' TERM
sleep 300 &
setsid sh -c "trap '' TERM; while :; do sleep 0.2; done" &
(setsid sh -c "trap '' TERM; sleep 300 & touch daemon; while :; do sleep 0.2; done" &)
while ! [ -e daemon ]; do sleep 0.01; done
touch ready
while :; do sleep 0.2; done
"""
# Notes the signal and goes.
POLITE = 'trap "echo TERM >> heard; exit 0" TERM; touch ready; while :; do sleep 0.02; done'
# Notes the signal and stays.
DEAF = 'trap "echo TERM >> heard" TERM; touch ready; while :; do sleep 0.02; done'


class Steps:
    """Runs commands under a guard, each in a process that stands for the launcher."""

    def __init__(self, spawn: Spawner, cwd: Path) -> None:
        self.spawn, self.cwd = spawn, cwd

    def start(self, *argvs: list[str], prefix: tuple[str, ...] = (), **asked: Any) -> Launched:
        """Return at once."""
        program = (*prefix, sys.executable, one_step.__file__, json.dumps({"argvs": argvs, **asked}))
        return self.spawn(program, cwd=self.cwd)

    def finish(self, *argvs: list[str], **asked: Any) -> list[dict[str, Any]]:
        """Return what is told of each command."""
        launched = self.start(*argvs, **asked)

        assert launched.wait(100) == 0, str(launched)
        return [json.loads(line) for line in launched.stdout.splitlines()]

    def ready(self) -> None:
        """Wait until the step says that it runs."""
        until((self.cwd / "ready").exists, "the step to be ready")

    def heard(self) -> str:
        """Return the signals a step has noted."""
        path = self.cwd / "heard"
        return path.read_text() if path.exists() else ""

    def members(self, but: Launched) -> list[psutil.Process]:
        """Return the step's living processes: all of the test's but launcher and guard."""
        found = alive([], self.spawn.mark)
        return [process for process in found if process.pid != but.pid and not _is_guard(process)]


@pytest.fixture
def steps(spawn: Spawner, tmp_path: Path) -> Steps:
    """Run commands in an empty folder; whatever outlives its launcher fails the test (see `spawn`)."""
    (tmp_path / "step").mkdir()
    return Steps(spawn, tmp_path / "step")


def _is_guard(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(word.endswith(GUARD) for word in process.cmdline()[:4])
    return False


def guard_of(launched: Launched) -> psutil.Process:
    """Return the guard as soon as there is one."""
    return until(lambda: next((c for c in map(psutil.Process, launched.children()) if _is_guard(c)), None), "the guard")  # type: ignore[return-value]  # until returns what is true


def python(code: str) -> list[str]:
    """Return a command that runs `code` without a site."""
    return [sys.executable, "-I", "-S", "-c", code]


class TestOutput:
    """What the step says."""

    def test_lines_come_in_their_order(self, steps: Steps) -> None:
        """Lines of one stream arrive as they were written, the last one also without its newline."""
        (told,) = steps.finish(["sh", "-c", "for n in $(seq 500); do echo $n; done; printf end"], lines=1000)

        assert [*map(str, range(1, 501)), "end"] == [line for _, line in told["lines"]]

    def test_streams_are_told_apart(self, steps: Steps) -> None:
        """Each line carries the name of its stream; a carriage return before the newline is no part of it."""
        (told,) = steps.finish(["sh", "-c", "echo out; echo err >&2; printf 'dos\\r\\n'"])

        assert [["stderr", "err"], ["stdout", "dos"], ["stdout", "out"]] == sorted(told["lines"])

    @pytest.mark.parametrize("end", ["", "\\n"], ids=["unended", "ended"])
    def test_long_lines_are_split(self, steps: Steps, end: str) -> None:
        """No line is longer than 16 KiB, however it was written, and nothing of it is lost."""
        (told,) = steps.finish(python(f"import os; os.write(1, b'x' * 50_000 + b'{end}')"))

        assert told["longest"] <= 16 * 1024
        assert hashlib.sha256(b"x" * 50_000).hexdigest() == told["digest"]

    def test_splitting_keeps_characters_whole(self, steps: Steps) -> None:
        """A long line of three-byte characters is cut between characters, never inside of one."""
        (told,) = steps.finish(python("import os; os.write(1, ('a' + '€' * 20_000).encode())"))

        assert hashlib.sha256(("a" + "€" * 20_000).encode()).hexdigest() == told["digest"]

    def test_what_is_no_utf8_survives(self, steps: Steps) -> None:
        """Bytes that are no UTF-8 are shown as replacement characters; the lines around them are whole."""
        (told,) = steps.finish(["sh", "-c", "echo before; printf 'a\\377\\300b\\n'; echo after"])

        assert ["before", "a\ufffd\ufffdb", "after"] == [line for _, line in told["lines"]]

    @pytest.mark.parametrize("command", ["yes {} | head -c {}", "head -c {1} /dev/zero"], ids=["lines", "one-line"])
    def test_fifty_megabytes_do_not_grow_memory(self, steps: Steps, command: str) -> None:
        """50 MB of output are read to the end, with at most 12 MB more of our memory than an empty step."""
        text, size = "0123456789" * 6, 50_000_000
        empty, told = steps.finish(["true"], ["sh", "-c", command.format(text, size)], lines=0)

        assert 0 == told["status"]
        assert told["count"] >= size // (16 * 1024 + 1)
        assert told["peak_kib"] - empty["peak_kib"] <= 12 * 1024

    @pytest.mark.timeout(120)
    def test_last_words_are_never_lost(self, steps: Steps) -> None:
        """What is written just before the exit arrives, with the right status, in each of 200 runs."""
        seed = random.randrange(1 << 32)  # noqa: S311 - nothing secret
        print(f"seed {seed}")  # noqa: T201 - shown by pytest when it fails
        rng = random.Random(seed)  # noqa: S311 - nothing secret
        wanted = [(str(number), rng.randrange(0, 3000), rng.randrange(0, 4)) for number in range(LAST_WORDS)]
        argvs = [
            ["sh", "-c", f"head -c {size} /dev/zero | tr '\\0' '\\n'; printf {n}; exit {c}"] for n, size, c in wanted
        ]
        told = steps.finish(*argvs, lines=4000)

        assert [(word, size + 1, code) for word, size, code in wanted] == [
            (one["lines"][-1][1], one["count"], one["status"]) for one in told
        ]

    def test_a_slow_log_loses_nothing(self, steps: Steps) -> None:
        """When a line takes us longer than the step's whole life, its status and the rest of its output still come."""
        (told,) = steps.finish(["sh", "-c", "echo 1; sleep 0.05; echo 2; exit 7"], slow_s=0.3)

        assert (7, [["stdout", "1"], ["stdout", "2"]]) == (told["status"], told["lines"])

    def test_a_slow_log_is_no_timeout(self, steps: Steps) -> None:
        """A step that ended in time has not timed out because its output was still being written."""
        (told,) = steps.finish(["sh", "-c", "seq 1 5"], slow_s=0.3, timeout_s=1.0)

        assert (0, False, 5) == (told["status"], told["timed_out"], told["count"])


class TestInput:
    """What the step is given."""

    def test_stdin_of_any_size_is_handed_over(self, steps: Steps) -> None:
        """More than a pipe holds is handed over too."""
        (told,) = steps.finish(["wc", "-c"], stdin="x" * 100_000)

        assert [["stdout", "100000"]] == told["lines"]

    def test_stdin_is_empty_otherwise(self, steps: Steps) -> None:
        """A step that reads gets an end of file, not the launcher's terminal."""
        (told,) = steps.finish(["wc", "-c"])

        assert [["stdout", "0"]] == told["lines"]

    def test_only_its_own_descriptors(self, steps: Steps) -> None:
        """A step inherits stdin, stdout and stderr, and nothing of ours."""
        look = "import os; print(*(n for n in range(256) if os.path.exists(f'/proc/self/fd/{n}')))"
        (told,) = steps.finish(python(look))

        assert [["stdout", "0 1 2"]] == told["lines"]

    def test_steps_leave_no_descriptors(self, steps: Steps) -> None:
        """Twenty steps later no more descriptors are open than after the first."""
        told = steps.finish(*[["true"]] * 20)

        assert told[0]["descriptors"] == told[-1]["descriptors"]


class TestStatus:
    """How the step ended."""

    @pytest.mark.timeout(120)
    def test_every_exit_code_is_told(self, steps: Steps) -> None:
        """All 256 exit codes come through."""
        told = steps.finish(*[["sh", "-c", f"exit {code}"] for code in range(256)])

        assert [*range(256)] == [one["status"] for one in told]

    @pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGABRT])
    def test_death_by_signal_is_told(self, steps: Steps, signum: signal.Signals) -> None:
        """A step that a signal ended has the status -n, and the signals we are deaf to work in it."""
        (told,) = steps.finish(["sh", "-c", f"ulimit -c 0; kill -{int(signum)} $$"])

        assert -signum == told["status"]

    def test_what_is_not_found_is_127(self, steps: Steps) -> None:
        """A program that does not exist: 127 and its name, as shells say it."""
        (told,) = steps.finish(["no-such-program-anywhere"])

        assert (127, "no-such-program-anywhere: No such file or directory") == (told["status"], told["tail"])

    def test_what_cannot_be_executed_is_126(self, steps: Steps) -> None:
        """A file without the right to be executed, and a folder: 126."""
        (steps.cwd / "plain").write_text("#!/bin/sh\n")
        told = steps.finish(["./plain"], ["/"])

        assert [126, 126] == [one["status"] for one in told]
        assert "./plain: Permission denied" == told[0]["tail"]

    def test_signals_are_as_a_shell_starts_them(self, steps: Steps) -> None:
        """Nothing is blocked or ignored in a step, though the launcher was started with blocked signals."""
        block = "import os, signal, sys; signal.pthread_sigmask(0, range(1, 32)); os.execv(sys.argv[1], sys.argv[1:])"
        launched = steps.start(
            ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"], prefix=(sys.executable, "-c", block)
        )

        assert launched.wait(10) == 0
        assert [set(), set()] == [numbers(line.split()[1]) for _, line in json.loads(launched.stdout)["lines"]]


class TestTimeout:
    """What takes too long."""

    def test_it_gets_term_first(self, steps: Steps) -> None:
        """At the timeout the step gets TERM and may tidy up."""
        (told,) = steps.finish(["sh", "-c", POLITE], timeout_s=0.5)

        assert ("TERM\n", True) == (steps.heard(), told["timed_out"])

    def test_the_deaf_are_killed_after_the_grace(self, steps: Steps) -> None:
        """A step that stays after TERM is killed with its daemons when the grace is over."""
        (told,) = steps.finish(["sh", "-c", STUBBORN], timeout_s=1.0, grace_s=0.5)

        assert (-9, True) == (told["status"], told["timed_out"])
        assert 1.5 <= told["seconds"] < 10
        assert [] == alive([], steps.spawn.mark)

    def test_leftovers_are_ended_and_named(self, steps: Steps) -> None:
        """What a step that has ended leaves behind is ended and named; its own status stands."""
        (told,) = steps.finish(["sh", "-c", "(setsid sleep 300 &); exit 3"])

        assert (3, ["sleep"], False) == (told["status"], told["leftovers"], told["timed_out"])
        assert [] == alive([], steps.spawn.mark)

    def test_a_process_whose_first_thread_has_ended_is_no_hiding_place(self, steps: Steps) -> None:
        """A daemon that looks like a zombie, since only its other threads live, is killed with its children."""
        hide = """
import ctypes, os, signal, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    def work():
        if os.fork() == 0:
            os.setsid()
            open("ready", "w").close()
        time.sleep(300)
    threading.Thread(target=work).start()
    ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
while not os.path.exists("ready"):
    time.sleep(0.01)
"""
        (told,) = steps.finish(python(hide), grace_s=0.2)

        assert 0 == told["status"]
        assert [] == alive([], steps.spawn.mark)


class TestKilled:
    """kill -9, of whom it may be."""

    @pytest.mark.timeout(150)
    def test_of_the_launcher(self, steps: Steps) -> None:
        """The whole tree dies with the launcher, and the lock is never free while a member lives (20 rounds)."""
        seed = random.randrange(1 << 32)  # noqa: S311 - nothing secret
        print(f"seed {seed}")  # noqa: T201 - shown by pytest when it fails
        rng = random.Random(seed)  # noqa: S311 - nothing secret
        seen = [self._round(steps, rng, number) for number in range(ROUNDS)]

        assert [[]] * ROUNDS == seen

    def _round(self, steps: Steps, rng: random.Random, number: int) -> list[str]:
        lock = steps.cwd / f"{number}.lock"
        for name in ("ready", "daemon"):
            (steps.cwd / name).unlink(missing_ok=True)
        launched = steps.start(["sh", "-c", STUBBORN], lock=str(lock), grace_s=0.2)
        until(lambda: lock.exists() and not is_free(lock), "the lock to be held")
        with contextlib.suppress(AssertionError):  # any moment, from the first ones of the guard on
            until((steps.cwd / "ready").exists, "", rng.choice([0, 0.02, 0.05, 0.1, 1]) * rng.random() * 2)
        launched.popen.kill()
        launched.wait()
        until(lambda: is_free(lock), "the lock to be free")
        members = [describe(process) for process in steps.members(launched)]
        until(lambda: not alive([], steps.spawn.mark), "the guard's end")
        return members

    def test_of_the_guard(self, steps: Steps) -> None:
        """The launcher notices, kills what the guard has left, and reports status -9."""
        launched = steps.start(["sh", "-c", STUBBORN])
        steps.ready()
        guard_of(launched).kill()

        assert launched.wait(TOO_LATE_S) == 0
        told = json.loads(launched.stdout)
        assert -9 == told["status"]
        assert "guard" in told["tail"]
        assert [] == alive([], steps.spawn.mark)

    def test_of_the_step(self, steps: Steps) -> None:
        """The guard kills what the step has left, and the status is -9."""
        launched = steps.start(["sh", "-c", STUBBORN], grace_s=0.3)
        steps.ready()
        guard_of(launched).children()[0].kill()

        assert launched.wait(TOO_LATE_S) == 0
        assert -9 == json.loads(launched.stdout)["status"]
        assert [] == alive([], steps.spawn.mark)

    def test_of_launcher_and_guard_keeps_the_lock(self, steps: Steps) -> None:
        """When both are killed, a daemon of the step still keeps the lock: nobody starts the step beside it."""
        lock = steps.cwd / "a.lock"
        launched = steps.start(["sh", "-c", STUBBORN], lock=str(lock))
        steps.ready()
        guard = guard_of(launched)
        for process in (launched.popen, guard):
            process.kill()
        left = until(lambda: [] if guard.is_running() and not _ended(guard) else steps.members(launched), "orphans")

        assert not is_free(lock)
        for process in left:
            process.kill()
        until(lambda: is_free(lock), "the lock to be free")


def _ended(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


def is_free(lock: Path) -> bool:
    """Return whether nobody has the lock."""
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


class TestStopped:
    """Stop signals while a step runs."""

    @pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
    def test_the_step_gets_term(self, steps: Steps, signum: signal.Signals, code: int) -> None:
        """A stop signal reaches the step as TERM, once, and the exit code is 128 + n."""
        launched = steps.start(["sh", "-c", POLITE])
        steps.ready()
        launched.signal(signum)

        assert (code, "TERM\n") == (launched.wait(TOO_LATE_S), steps.heard())

    def test_the_whole_group_may_get_it(self, steps: Steps) -> None:
        """TERM to the launcher's process group reaches the step once: it is in a session of its own."""
        launched = steps.start(["sh", "-c", POLITE])
        steps.ready()
        os.killpg(launched.pid, signal.SIGTERM)

        assert (143, "TERM\n") == (launched.wait(TOO_LATE_S), steps.heard())

    def test_a_second_one_kills_at_once(self, steps: Steps) -> None:
        """A step that stays is killed by the second TERM without waiting for the grace."""
        launched = steps.start(["sh", "-c", DEAF], grace_s=300)
        steps.ready()
        launched.signal(signal.SIGTERM)
        until(steps.heard, "the step to hear TERM")
        launched.signal(signal.SIGTERM)

        assert 143 == launched.wait(5)

    def test_one_that_came_before_is_not_forgotten(self, steps: Steps) -> None:
        """A TERM between the last wait and the step's start: the step is not run to its end first."""
        launched = steps.start(["sleep", "300"], stop_first=True)

        assert 143 == launched.wait(5)

    def test_what_was_ignored_stays_ignored(self, steps: Steps) -> None:
        """Under nohup a hang-up ends nothing; TERM still does."""
        launched = steps.start(["sh", "-c", POLITE], prefix=("sh", "-c", 'trap "" HUP; exec "$@"', "sh"))
        steps.ready()
        launched.signal(signal.SIGHUP)
        with contextlib.suppress(subprocess.TimeoutExpired):
            launched.popen.wait(0.3)
        ran_on = launched.running
        launched.signal(signal.SIGTERM)

        assert ran_on
        assert 143 == launched.wait(TOO_LATE_S)
