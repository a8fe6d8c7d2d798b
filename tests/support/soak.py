"""Does a fleet come to rest, with the work done once, whatever happens to it?

A lane has a network, a server and five replicas that somebody starts again when they end. In a round of a new release
a few random things happen to them; then all five must serve, and the step must have been done without two at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import psycopg

from launcher.errors import ExitCode
from support.fleet import Fleet, Session, fleet_on
from support.own_postgresql import OwnPostgreSQL, own_postgresql
from support.partition import Network, own_network
from support.spawning import Spawner
from support.witness import Witness

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.launched import Launched
    from support.own_postgresql import Shutdown
    from support.partition import Direction
    from support.postgresql import PostgreSQL

REPLICAS = 5
STUCK_S = 90.0  # expiry and grace twice, and a machine that is busy
_TICK_S = 0.05
_BACK_OFF_S = 0.5  # before a replica that ended is started again
# A frozen step cannot be killed and beats once more when it is woken: by then nobody else may have been let in.
_LONGEST_FREEZE_S = 5.0
_ALLOWED = {-signal.SIGKILL, ExitCode.LOCK_NOT_OBTAINED}
_KINDS = ("kill", "stop", "freeze", "terminate", "cut", "cut", "restart")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disturbance:
    """What happens, `at_s` after the start, to the holder (once there is one) or to somebody, for `for_s` seconds."""

    kind: str
    at_s: float
    for_s: float
    holder: bool
    detail: str = ""

    def __str__(self) -> str:
        """Return it in words."""
        whom = "" if self.kind == "restart" else " holder" if self.holder else " somebody"
        return f"{self.kind}{whom}{self.detail and ' ' + self.detail} at {self.at_s:.1f}"


def planned(rng: random.Random) -> list[Disturbance]:
    """Return what is to happen in a round."""
    return [_disturbance(rng) for _ in range(rng.choice([1, 1, 2, 2, 3]))]


def _disturbance(rng: random.Random) -> Disturbance:
    kind = rng.choice(_KINDS)
    details = {"restart": ["fast", "immediate"], "cut": ["both", "to the client", "to the server"]}
    longest = _LONGEST_FREEZE_S if kind == "freeze" else 12.0
    return Disturbance(
        kind=kind,
        at_s=rng.uniform(0.2, 4.0),
        for_s=rng.uniform(0.2, longest),
        holder=rng.random() < 0.7,
        detail=rng.choice(details.get(kind, [""])),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a round ended; `wrong` is empty when all is as promised."""

    disturbances: list[Disturbance]
    seconds: float
    runs: int
    statuses: list[int]
    wrong: list[str]


@dataclass(frozen=True, slots=True)
class Lane:
    """Where rounds are played one after the other."""

    fleet: Fleet
    network: Network
    server: OwnPostgreSQL
    witness: PostgreSQL


@dataclass(slots=True)
class Round:
    """One round while it is played."""

    fleet: Fleet
    lane: Lane
    rng: random.Random
    release: str
    plan: list[Disturbance]
    statuses: list[int] = field(default_factory=list)
    _slots: dict[int, Launched] = field(default_factory=dict)
    _starts: dict[int, float] = field(default_factory=dict)  # when a slot is to be filled
    _undo: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def play(self) -> Outcome:
        """Play it to its end, and judge."""
        # One in three has to be killed: a predecessor's whole grace is used.
        deaf = self.rng.choice([[], [], ["deaf"]])
        self.fleet.step(f"{self.rng.uniform(0.3, 3.0):.1f}", *deaf, settings="attempts = 50")
        begun = time.monotonic()
        self._starts = {slot: begun + self.rng.uniform(0.0, 0.5) for slot in range(REPLICAS)}
        pending = sorted(self.plan, key=lambda one: one.at_s)
        while (pending or self._undo or not self._at_rest()) and time.monotonic() < begun + STUCK_S:
            now = time.monotonic()
            while pending and now >= begun + pending[0].at_s and self._possible(pending[0]):
                self._happen(pending.pop(0))
            for undo in [one for one in self._undo if one[0] <= now]:
                self._undo.remove(undo)
                undo[1]()
            self._supervise(now)
            time.sleep(_TICK_S)
        wrong = list(self._wrong())
        self._end()
        runs = len(self.fleet.witness.runs())
        seconds = time.monotonic() - begun
        return Outcome(disturbances=self.plan, seconds=seconds, runs=runs, statuses=self.statuses, wrong=wrong)

    def _possible(self, what: Disturbance) -> bool:
        """Tell whether there is a holder, when it is one that is meant; at rest there will be none any more."""
        return not what.holder or self._at_rest() or bool(self._sessions(holder=True))

    def _at_rest(self) -> bool:
        return len(self._slots) == REPLICAS and all(map(_serves, self._slots.values()))

    def _supervise(self, now: float) -> None:
        """Start what is to be started, and again what has ended."""
        for slot in [slot for slot, launched in self._slots.items() if not launched.running]:
            self.statuses.append(self._slots.pop(slot).wait())
            self._starts[slot] = now + _BACK_OFF_S
        for slot in [slot for slot, at in self._starts.items() if at <= now]:
            del self._starts[slot]
            self._count += 1
            self._slots[slot] = self.fleet.start(f"m{self._count}", command="run", release=self.release)

    def _happen(self, what: Disturbance) -> None:
        """Do it to whom it is meant for, if there is anybody."""
        found = self._sessions(holder=what.holder) or self._sessions(holder=False)
        session = self.rng.choice(found) if found else None
        victim = self._victim(session)
        match what.kind:
            case "restart":
                self.lane.server.restart(cast("Shutdown", what.detail))
            case "terminate" if session is not None:
                self.fleet.terminate(session)
            case "cut" if session is not None:
                self.lane.network.cut(session.client_port, cast("Direction", what.detail))
                self._later(what, self.lane.network.heal)
            case "kill" if victim is not None:
                victim.popen.kill()
            case "stop" | "freeze" if victim is not None:
                below = victim.children(recursive=True) if what.kind == "freeze" else []
                pids = [victim.pid, *below]
                _signal(pids, signal.SIGSTOP)
                self._later(what, lambda: _signal(pids[::-1], signal.SIGCONT))

    def _later(self, what: Disturbance, undo: Callable[[], None]) -> None:
        self._undo.append((time.monotonic() + what.for_s, undo))

    def _sessions(self, *, holder: bool) -> list[Session]:
        with contextlib.suppress(psycopg.OperationalError):
            return self.fleet.sessions(holder=holder)
        return []

    def _victim(self, session: Session | None) -> Launched | None:
        """Return the replica of this session, else any; never one that serves: that is not the launcher any more."""
        booting = [launched for launched in self._slots.values() if launched.running and not _serves(launched)]
        owner = [launched for launched in booting if session is not None and launched.pid == session.owner]
        return self.rng.choice(owner or booting) if booting else None

    def _wrong(self) -> Iterator[str]:
        """Yield what is not as promised."""
        if not self._at_rest():
            yield "stuck: " + "\n".join(str(one) for one in self._slots.values() if not _serves(one))
        if overlaps := self.fleet.witness.overlaps():
            yield f"overlaps: {overlaps}"
        if odd := set(self.statuses) - _ALLOWED:
            yield f"exit statuses {odd}"
        rows = [row for row in self.fleet.rows() if row.key == self.release]
        runs = self.fleet.witness.runs()
        if [row.state for row in rows] != ["done"]:
            yield f"records: {rows}"
        elif not runs or rows[0].token != runs[-1].token or runs[-1].ended is None:
            yield f"done with token {rows[0].token}, the last run was {runs[-1:]}"
        # Who serves after a run of its own has recorded it: another one after that was one too many.
        serving = {name for name, launched in self.fleet.members.items() if _serves(launched)}
        if len(twice := {run.member for run in runs if run.ended} & serving) > 1:
            yield f"done by {twice}"

    def _end(self) -> None:
        for _, undo in self._undo:
            undo()
        for launched in self._slots.values():
            launched.signal(signal.SIGTERM)
        for launched in self._slots.values():
            launched.stop()


def play(lane: Lane, rng: random.Random, release: str) -> Outcome:
    """Play one round with a new release."""
    observer = Witness(lane.witness)
    # A spawner of the round's own: pids are used again, and one that forgets nothing would end strangers.
    spawner = Spawner(lane.fleet.folder.parent / f"processes-{release}")
    fleet = dataclasses.replace(lane.fleet, spawn=spawner, witness=observer, members={})
    try:
        outcome = Round(fleet, lane, rng, release, planned(rng)).play()
    finally:
        lane.network.heal()
        observer.close()
        left = _left(spawner)
    return dataclasses.replace(outcome, wrong=[*outcome.wrong, *left])


def _left(spawner: Spawner) -> list[str]:
    """End what is left of a round, and return what should not have been."""
    try:
        spawner.end()
    except AssertionError as error:
        return [str(error)]
    return []


@contextlib.contextmanager
def own_lane(witness: PostgreSQL, folder: Path) -> Iterator[Lane]:
    """Make a lane whose files are in `folder`."""
    with (
        own_network() as network,
        own_postgresql(network=network) as server,
        fleet_on(server, witness, Spawner(folder / "processes"), folder, prefix=network.prefix()) as fleet,
    ):
        yield Lane(fleet, network, server, witness)


def _serves(launched: Launched) -> bool:
    return launched.running and launched.event("launcher.handed_over") is not None


def _signal(pids: list[int], signum: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signum)
