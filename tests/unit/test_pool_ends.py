"""When does the pool end, and when does it go on?"""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from launcher.errors import ExitCode
from launcher.serving.rules import Rules
from support.play import BOOT_S, Play, playing


@pytest.fixture
def play() -> Iterator[Play]:
    """A pool of four, ready."""
    with playing() as play:
        yield play


def test_a_stop_drains_before_it_closes(play: Play) -> None:
    """During the delay the pool listens, and workers that die are not replaced; then all leave, exit code 0."""
    play.pool.adopt(Rules(workers=4, drain_delay_s=5, graceful_timeout_s=8))
    play.pool.stop("SIGTERM")
    play.run(4)
    during = play.listening
    play.run(5)

    assert (during, play.listening) == (True, False)
    assert (play.pool.outcome, play.workers) == (ExitCode.OK, {})


def test_a_second_signal_ends_the_delay(play: Play) -> None:
    """Whoever asks twice is in a hurry."""
    play.pool.adopt(Rules(workers=4, drain_delay_s=500, graceful_timeout_s=8))
    play.pool.stop("SIGTERM")
    play.run(2)
    play.pool.stop("SIGTERM")
    play.run(3)

    assert play.pool.outcome is ExitCode.OK


@pytest.mark.parametrize("first", ["SIGTERM", "asked"])
def test_the_same_signal_once_more_is_no_hurry(play: Play, first: str) -> None:
    """Sent twice within a moment (ExecStop and systemd, a wrapper): the delay and the grace are not cut."""
    play.pool.adopt(Rules(workers=4, drain_delay_s=1, graceful_timeout_s=8))
    play.stays = True
    play.pool.stop(first)
    for _ in range(2):
        play.run(0.6)
        play.pool.stop("SIGTERM")

    assert [1] * 4 == [worker.slot.asked for worker in play.workers.values()]
    play.run(1)
    play.pool.stop("SIGTERM")
    assert [2] * 4 == [worker.slot.asked for worker in play.workers.values()]


def test_another_signal_is_a_hurry(play: Play) -> None:
    """QUIT after TERM is obeyed at once."""
    play.pool.adopt(Rules(workers=4, drain_delay_s=500, graceful_timeout_s=8))
    play.pool.stop("SIGTERM")
    play.pool.stop("SIGQUIT", quick=True)
    play.run(1)

    assert play.pool.outcome is ExitCode.OK


def test_a_grace_of_nothing_is_no_eternity(play: Play) -> None:
    """With a graceful timeout of 0 a worker that does not leave is killed."""
    play.pool.adopt(Rules(workers=4, graceful_timeout_s=0))
    play.stays = True
    play.pool.stop("SIGTERM")
    play.run(5)

    assert play.pool.outcome is ExitCode.OK


def test_a_start_that_the_system_refuses_is_tried_again_after_pauses(play: Play) -> None:
    """`fork` and what comes before it may fail: few attempts, the others serve, and all are there when it works."""
    play.startable = BlockingIOError("no more processes")
    play.kill(101)
    play.run(120)
    tried = play.pool.restarts.failures

    assert (3, None) == (play.ready, play.pool.outcome)
    assert 5 <= tried <= 12
    play.startable = True
    play.run(60)
    assert 4 == play.ready


@pytest.mark.parametrize("how", ["descriptors", "template"])
def test_nobody_left_and_no_start_possible_is_the_end(play: Play, how: str) -> None:
    """All are dead, and no descriptor for a new one can be had: exit code 70, after pauses."""
    for pid in list(play.workers):
        play.kill(pid)
    began = play.now
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if how == "template":
        play.startable = OSError("too many open files")
    else:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limit[1]))
    try:
        play.run(60)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    assert ExitCode.CRASH_LOOP is play.pool.outcome
    assert 2 < play.now - began < 30


def test_workers_killed_for_memory_end_no_pool(play: Play) -> None:
    """However often: it is explained. But the pauses grow, as for what cannot boot."""
    for _ in range(2000):
        if play.ready == 4:
            play.run_out_of_memory(next(iter(play.workers)))
        play.run(1)

    assert play.pool.outcome is None
    assert play.started < 4 + 2000 / 15


def test_the_intensity_grows_with_the_pool(play: Play) -> None:
    """Scaled up, it bears as many deaths as there are workers; scaled down, no fewer than before."""
    play.pool.adopt(Rules(workers=4, graceful_timeout_s=8))
    for wanted in (8, 2):
        play.pool.scale(wanted)
        play.run(30)
        assert max(wanted, 4) == play.pool.restarts.intensity == play.pool.restarts.first


def test_a_worker_that_ends_itself_after_its_requests(play: Play) -> None:
    """A class that knows nothing of the pool leaves with code 0 after --max-requests: that is no death."""
    for _ in range(10):
        worker = next(iter(play.workers.values()))
        worker.slot.retiring, worker.ends_at = True, play.now
        play.run(BOOT_S + 1)

    assert (4, None, 0) == (play.ready, play.pool.outcome, play.pool.board.restarts)
