"""What is done in each turn of a server's loop?

The same for both servers. Nothing in here may end the server: a fault of ours is said, and the next turn comes.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launcher.budget import Supply
from launcher.growth import Growth
from launcher.limits.footprint import Footprint, read_footprint
from launcher.limits.oom import OomReader
from launcher.limits.reading import read_limits, supply
from launcher.limits.room import RoomReader
from launcher.limits.usage import UsageReader
from launcher.log import log
from launcher.notify import Notifier
from launcher.procfs import children
from launcher.serving import metrics_files
from launcher.serving.certificates import CertificateWatch
from launcher.serving.crossed import Crossed
from launcher.serving.incidents import Incidents
from launcher.serving.kept_monitor import KeptMonitor
from launcher.serving.pool.alarm import Alarm
from launcher.serving.pool.asks import hear
from launcher.serving.pool.decisions import Pool
from launcher.serving.pool.hands import Hands
from launcher.serving.pool.killings import OomCounter
from launcher.serving.pool.looks import Readers
from launcher.serving.pool.pilot import Pilot
from launcher.serving.pool.space import Space
from launcher.serving.pool.voice import Voice
from launcher.serving.pool.wave import Wave
from launcher.serving.rules import Rules

_EXTEND_EVERY_S = 10.0  # systemd's patience with a start, until the first worker is ready
# Faults of the same loop that are said: the log of a fault in each turn would be the next fault. Later, one a minute.
_FAULTS, _FAULTS_EVERY_S = 20, 60.0


@dataclass(slots=True)
class Loop:
    """The pool, and who looks at it or speaks to it."""

    pool: Pool
    alarm: Alarm
    notifier: Notifier
    certificates: CertificateWatch
    monitor: KeptMonitor
    incidents: Incidents
    metrics: Path | None = None  # prometheus_client's folder
    _faults: int = 0
    _fault_said: float = 0.0
    _told: str = field(default="")
    _reloads: int = 0  # of those that were begun, how many systemd knows of
    _reloading: bool = False
    _extend_at: float = 0.0

    def wait(self) -> None:
        """Sleep until something happens or is due."""
        due_in_s = min(self.pool.pause_s(), self.monitor.due_in_s(), self.incidents.outbox.due_in_s())
        self.alarm.wait(due_in_s, *self.monitor.watched())

    def turn(self) -> None:
        """Do what is due. A fault in one part keeps none of the others from its work.

        The watchdog of systemd is for a pool that looks after its workers: a turn in which that failed feeds it not.
        """
        self._sound(self._hear)
        self._sound(self.monitor.look)
        self._sound(self.incidents.outbox.look)
        self._sound(self._look_at_certificates)
        if self._sound(self.pool.step):
            self.notifier.watchdog()
        self._sound(self.pool.look_at_sizes)
        self._sound(self._tell_systemd)

    def died(self, pid: int, status: int) -> None:
        """Take note of a child that was reaped with this wait status."""
        self._sound(lambda: self._note_death(pid, status))

    def _sound(self, part: Callable[[], None]) -> bool:
        """Do a part of the work; tell whether it was done. A fault of ours takes nothing healthy down with it."""
        try:
            part()
        except Exception:  # noqa: BLE001 - see above
            self._faults += 1
            now = self.pool.clock()
            if self._faults <= _FAULTS or now - self._fault_said >= _FAULTS_EVERY_S:
                self._fault_said = now
                log.error("launcher.pool_fault", exception=traceback.format_exc())
            return False
        return True

    def _hear(self) -> None:
        if self.monitor.channel is not None:
            hear(self.pool, self.monitor.channel)

    def _look_at_certificates(self) -> None:
        if self.certificates.changed(self.pool.clock()):
            log.info("launcher.certificate_changed")
            self.pool.reload()

    def _note_death(self, pid: int, status: int) -> None:
        member = self.pool.died(pid, status)
        if member is None:
            self.monitor.ended(pid, status)
            self.incidents.ended(pid, status)
        elif self.metrics is not None:
            metrics_files.mark_dead(self.metrics, member.slot.index)

    def _tell_systemd(self) -> None:
        pool = self.pool
        status = f"{len(pool.members.serving)} of {pool.wanted} workers ready"
        if pool.stopping is not None:
            if self._told != "stopping":
                self._told = "stopping"
                self.notifier.stopping()
        elif not self._told:
            self._reloads = pool.rolling.begun
            self._tell_of_the_start(status)
        else:
            self._tell_of_reloads(status)

    def _tell_of_the_start(self, status: str) -> None:
        pool = self.pool
        if pool.members.serving:
            self._told = status
            self.notifier.ready(status)
        elif pool.now >= self._extend_at:
            self._extend_at = pool.now + _EXTEND_EVERY_S
            self.notifier.extend(pool.rules.startup_timeout_s + _EXTEND_EVERY_S, status)

    def _tell_of_reloads(self, status: str) -> None:
        """Say each that was begun, one refused at once too: Type=notify-reload waits for RELOADING, then READY."""
        rolling = self.pool.rolling
        if rolling.begun != self._reloads:
            self._reloads, self._reloading = rolling.begun, True
            self.notifier.reloading()
        if self._reloading and rolling.reload is None:
            self._told, self._reloading = status, False
            self.notifier.ready(status)
        elif self._told != status:
            self._told = status
            self.notifier.status(status)


def make_loop(crossed: Crossed, rules: Rules, hands: Hands, certificates: Sequence[str]) -> Loop:
    """Return the loop of this process with a pool that has no workers yet; call it in the main thread."""
    monitor = KeptMonitor(crossed.monitor)
    monitor.board.arbiter_pid = os.getpid()
    incidents = Incidents(crossed.incidents, monitor.channel)
    oom = OomCounter(OomReader())
    voice = Voice(monitor.channel, incidents)
    pool = Pool(rules, monitor.board, hands, voice, oom)
    pool.space = Space(RoomReader(), _own_bytes, _supply, rules.memory, rules.may_overcommit)
    pool.wave = Wave(lambda: _supply().cpus)
    if rules.growth is not None:
        pool.pilot = _pilot(rules.growth, pool, monitor)
    if oom.now.group:
        voice.warn("launcher.oom_group_set", because="one kill for memory takes the server and all its workers at once")
    if metrics := metrics_files.metrics_folder():
        metrics_files.wipe(metrics)
    return Loop(
        pool=pool,
        alarm=Alarm(),
        notifier=crossed.notifier,
        certificates=CertificateWatch(certificates),
        monitor=monitor,
        incidents=incidents,
        metrics=metrics,
    )


def _own_bytes(pid: int) -> int | None:
    found = read_footprint(pid)
    return None if found is None else found.own_bytes


def _supply() -> Supply:
    return supply(read_limits())


def _pilot(growth: Growth, pool: Pool, monitor: KeptMonitor) -> Pilot:
    usage = UsageReader()

    def others() -> list[int]:
        """Return ourselves and our children that are neither workers nor the monitor, which has a region of its own."""
        keeper = monitor.keeper.pid if monitor.keeper is not None else None
        mine = [pid for pid in children(os.getpid()) if pid != keeper and pool.members.find(pid) is None]
        return [os.getpid(), *mine]

    def shmem_bytes() -> int | None:
        if not growth.is_limited:  # it is the whole machine's
            return 0
        found = usage()
        return None if found is None else found.shmem_bytes

    def watcher() -> Footprint | None:
        keeper = monitor.keeper
        return read_footprint(keeper.pid) if keeper is not None and keeper.pid is not None else None

    return Pilot(growth, Readers(read_footprint, others, shmem_bytes, _supply, watcher))
