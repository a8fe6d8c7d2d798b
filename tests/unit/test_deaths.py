"""Is the verdict over a worker that ended the right one, with the evidence that it rests on?"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from launcher.inflight import InFlight
from launcher.scoreboard import Board, Stage
from launcher.serving.evidence import Evidence
from launcher.serving.pool.deaths import Death, Judgement, judge
from launcher.serving.pool.hangs import strike
from launcher.serving.pool.members import Intent, Member

MakeDeath = Callable[..., Death]
EXITED_3, EXITED_7, LEFT = 3 << 8, 7 << 8, 0


@pytest.fixture
def died() -> Iterator[MakeDeath]:
    """Return what makes a death with this wait status; further words are attributes of the worker."""
    board = Board.create()

    def make(status: int, *, stage: Stage = Stage.READY, written: str = "", **attributes: object) -> Death:
        slot = board.slot(0)
        slot.clear(generation=1, number=1)
        slot.stage = stage
        member = Member(4711, slot, Evidence.create(), 1, 1, 100.0, ready=stage >= Stage.READY)
        member.evidence.write(written)
        for name, value in attributes.items():
            setattr(member, name, value)
        return Death.of(member, status, 130.0)

    yield make
    os.close(board.fd)


def judged(death: Death) -> Judgement:
    """Return the judgement, which there has to be."""
    judgement = judge(death)
    assert judgement is not None
    return judgement


@pytest.mark.parametrize(
    ("status", "verdict", "said"),
    [
        (signal.SIGSEGV, "native-crash", "crashed (SIGSEGV)"),
        (signal.SIGSEGV | 0x80, "native-crash", "crashed (SIGSEGV)"),  # with a core file
        (signal.SIGABRT, "native-crash", "crashed (SIGABRT)"),
        (signal.SIGTERM, "killed", "was ended by SIGTERM"),
        (EXITED_7, "exited", "left by itself with code 7"),
        (LEFT, "exited", "left by itself with code 0"),
    ],
)
def test_ready_workers(died: MakeDeath, status: int, verdict: str, said: str) -> None:
    """The verdict is by signal and exit code, certain, with a sentence that says what was seen."""
    judgement = judged(died(int(status)))

    assert (verdict, said, "certain") == (judgement.verdict, judgement.said, judgement.confidence)
    assert 1 == len(judgement.evidence)


def test_a_boot_that_failed(died: MakeDeath) -> None:
    """What the worker wrote last is said, and how far it had come."""
    judgement = judged(died(EXITED_3, stage=Stage.IMPORTING, written="Traceback\nImportError: no module\n"))

    assert ("boot-failed", "could not start: ImportError: no module") == (judgement.verdict, judgement.said)
    assert "importing" in judgement.evidence[0]


@pytest.mark.parametrize(("intent", "verdict"), [(Intent.HANG, "hang"), (Intent.BOOT_HANG, "boot-hang")])
def test_whoever_was_silent(died: MakeDeath, intent: Intent, verdict: str) -> None:
    """For how long is said, whichever of our blows it was."""
    judgement = judged(died(int(signal.SIGABRT), intent=intent, doomed=1.0, silent_s=31.24))

    assert verdict == judgement.verdict
    assert "31.2 s" in judgement.evidence[0]


@pytest.mark.parametrize("intent", [Intent.STOP, Intent.SCALE, Intent.RELOAD, Intent.RECYCLE])
def test_whoever_left_as_asked(died: MakeDeath, intent: Intent) -> None:
    """It is stopped, by exit code 0, by any other, by the signal that asked it."""
    for status in (LEFT, EXITED_3, int(signal.SIGTERM)):
        assert "stopped" == judged(died(status, intent=intent)).verdict


def test_whoever_did_not_leave(died: MakeDeath) -> None:
    """It hung; unless somebody was in a hurry, and it had no time to leave."""
    facts = {"intent": Intent.STOP, "doomed": 1.0, "silent_s": 8.0}
    hung, hurried = (judged(died(int(signal.SIGABRT), quick=quick, **facts)) for quick in (False, True))

    assert ("hang", "stopped") == (hung.verdict, hurried.verdict)
    assert "8.0 s" in hung.evidence[0]


def test_our_own_sigkill_and_somebody_elses(died: MakeDeath) -> None:
    """A SIGKILL is ours from the moment when we sent it; before, somebody else sent it, whatever we had in mind."""
    facts = {"intent": Intent.HANG, "doomed": 1.0}

    assert "hang" == judged(died(int(signal.SIGKILL), blow=3, **facts)).verdict
    assert judge(died(int(signal.SIGKILL), blow=2, **facts)) is None
    assert judge(died(int(signal.SIGKILL))) is None


def test_the_last_blow_is_sigkill(died: MakeDeath) -> None:
    """What is taken for our own SIGKILL is one."""
    member, sent = died(0).member, list[int]()
    for now in (100.0, 100.6, 103.0):
        strike(member, now, lambda _, number: sent.append(number))

    assert (3, signal.SIGKILL) == (member.blow, sent[-1])


def test_evidence_that_cannot_be_read(died: MakeDeath) -> None:
    """A descriptor that is gone is no reason to lose the death."""
    member = died(0).member

    assert "" == Death.of(member, EXITED_7, 1.0).written


def test_a_request_that_ended_between_the_verdict_and_the_death(died: MakeDeath) -> None:
    """What was under way when it was found to hang is what is named, unless something is under way at the end."""
    first = died(int(signal.SIGABRT), intent=Intent.HANG)
    request = InFlight("GET", "/blocks", 9.0)
    seen = replace(first.state, in_flight=(request,), more_requests=1)
    second = died(int(signal.SIGABRT), intent=Intent.HANG, seen=seen)

    assert () == first.state.in_flight
    assert ((request,), 1) == (second.state.in_flight, second.state.more_requests)
