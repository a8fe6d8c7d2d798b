"""What has happened, in sentences, and was it what the demo claims?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet import State
from journal import Journal, read_journal

if TYPE_CHECKING:
    from fleet import Fleet, Replica


HALF_WAY = 20  # of the 41 lines that a migration writes into the journal


@dataclass(slots=True)
class Story:
    """Follows both sides. `told`: seconds since the start, and a sentence."""

    launchers: Fleet
    scripts: Fleet
    killed: Replica | None = None
    migration_begun: bool = False
    told: list[tuple[float, str]] = field(default_factory=list)
    _known: set[str] = field(default_factory=set)

    def follow(self, at_s: float) -> None:
        """Look at both sides, and kill the launcher that is half way through its migration."""
        self.launchers.observe()
        self.scripts.observe()
        self._follow_launchers(at_s)
        self._follow_scripts(at_s)
        journal = read_journal(self.launchers.journal)
        self.migration_begun = journal.begun > 0
        holder = self.launchers.migrating()
        if self.killed is None and holder is not None and journal.signs >= HALF_WAY:
            self.killed = holder
            self.launchers.kill(holder)
            self._tell(at_s, f"launcher {holder.number:02}: kill -9, in the middle of its migration")

    def _follow_launchers(self, at_s: float) -> None:
        again = " again" if self.killed else ""
        for replica in self.launchers.replicas:
            name = f"launcher {replica.number:02}"
            if replica.state is State.SUCCESSOR:
                self._tell(at_s, f"{name} has the lock, and waits until the dead one's step is over")
            elif replica.state is State.MIGRATING:
                self._tell(at_s, f"{name} migrates{again}")
            elif replica.state is State.MIGRATED:
                self._tell(at_s, f"{name} has migrated: nobody else has anything to do")
        if self.launchers.settled:
            self._tell(at_s, f"{self.launchers.count(State.SERVING)} launchers serve")

    def _follow_scripts(self, at_s: float) -> None:
        if not self.scripts.replicas:
            return
        self._tell(at_s, f"{len(self.scripts.replicas)} scripts start, on a database of their own")
        failed = [replica for replica in self.scripts.replicas if replica.state is State.FAILED]
        if failed:
            self._tell(at_s, f"scripts fail: {failed[0].said}", once="scripts fail")
        if self.scripts.settled:
            self._tell(at_s, f"{len(failed)} of {len(self.scripts.replicas)} scripts have failed")

    @property
    def over(self) -> bool:
        """Whether nothing more can happen."""
        return self.launchers.settled and self.scripts.settled

    def _tell(self, at_s: float, sentence: str, once: str = "") -> None:
        if (once or sentence) not in self._known:
            self._known.add(once or sentence)
            self.told.append((at_s, sentence))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What was seen in the end."""

    replicas: int
    killed: int
    launchers_serving: int
    launchers_failed: int
    scripts_serving: int
    scripts_failed: int
    journal: Journal
    rows_right: bool

    @property
    def kept(self) -> bool:
        """Whether all that the demo claims was seen: one migration in spite of the kill, and the script failing."""
        once = (self.journal.begun, self.journal.finished, self.journal.overlaps) == (1 + self.killed, 1, 0)
        fleet = (self.killed, self.launchers_failed, self.launchers_serving) == (1, 0, self.replicas - 1)
        return once and fleet and self.rows_right and self.scripts_failed > 0

    @property
    def lines(self) -> tuple[str, str]:
        """One sentence a side."""
        journal, killed = self.journal, self.journal.begun - self.journal.finished
        migrations = f"{journal.finished} migration (and {killed} killed), {journal.overlaps} overlaps"
        return (
            f"launcher: {migrations}, {self.launchers_failed} failed, {self.launchers_serving} serving",
            f"script:   {self.scripts_failed} of {self.replicas} failed, {self.scripts_serving} serving",
        )


def judge(story: Story, *, rows_right: bool) -> Verdict:
    """Count what both sides came to."""
    return Verdict(
        replicas=len(story.launchers.replicas),
        killed=story.launchers.count(State.KILLED),
        launchers_serving=story.launchers.count(State.SERVING),
        launchers_failed=story.launchers.count(State.FAILED),
        scripts_serving=story.scripts.count(State.SERVING),
        scripts_failed=story.scripts.count(State.FAILED),
        journal=read_journal(story.launchers.journal),
        rows_right=rows_right,
    )
