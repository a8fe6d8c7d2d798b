"""What did one place say, and which of all places wins?

A layer maps option names to raw values with their origins. Layers stand in a list, strongest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from launcher.errors import UsageError
from launcher.origin import Ignored, Origin, OriginKind, Sourced
from launcher.settings.option import Option
from launcher.settings.options import BY_NAME
from launcher.settings.values import typed

T = TypeVar("T")
SUM_WINS = "the sum wins"  # said of a number of workers before it is known who gives another one


@dataclass(frozen=True, slots=True)
class Layer:
    """What one place said. `strict`: its author wrote for us, so contradictions inside it are errors."""

    values: Mapping[str, Sourced[object]] = field(default_factory=dict)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Environment:
    """Environment variables, and which of them come from the file given by --env-file."""

    values: Mapping[str, str]
    file: str = ""
    from_file: frozenset[str] = frozenset()

    def origin(self, name: str, kind: OriginKind) -> Origin:
        """Return where a variable was set: its name, and the file it is in."""
        return Origin(kind, f"{name} in {self.file}" if name in self.from_file else name)

    def said(self, name: str, kind: OriginKind = OriginKind.PLATFORM) -> Sourced[str] | None:
        """Return a variable with its origin; None when it is unset or blank."""
        text = self.values.get(name, "")
        return Sourced(text, self.origin(name, kind)) if text.strip() else None


@dataclass(slots=True)
class Merged:
    """The typed winners, the number of the layer that each is from, and what lost."""

    winners: dict[str, Sourced[object]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)
    ignored: list[Ignored] = field(default_factory=list)

    def said(self, name: str, kind: type[T]) -> Sourced[T] | None:
        """Return the winner when its value is of this kind; a word such as `auto` for a number is nobody's."""
        said = self.winners.get(name)
        return Sourced(said.value, said.origin) if said is not None and isinstance(said.value, kind) else None

    def value(self, name: str, kind: type[T]) -> T | None:
        """Return the winner's value alone."""
        said = self.said(name, kind)
        return None if said is None else said.value

    def lose(self, name: str, because: str) -> None:
        """Take a winner back and say why; nothing when there is none."""
        said = self.winners.pop(name, None)
        if said is not None:
            self.ignored.append(Ignored(name, said.origin, because))

    def ignore(self, ignored: Iterable[Ignored]) -> None:
        """Take over what has no effect; where another number of workers than the sum's wins, name who says it."""
        winner = self._of_workers()
        for item in ignored:
            because = item.because.replace(SUM_WINS, winner) if item.name == "workers" else item.because
            self.ignored.append(Ignored(item.name, item.origin, because))

    def _of_workers(self) -> str:
        reload, workers = self.said("reload", bool), self.said("workers", int)
        if reload is not None and reload.value:
            return f"{reload.origin} means one process"
        return SUM_WINS if workers is None else f"{workers.origin} wins"


def merge(layers: Iterable[Layer]) -> Merged:
    """Return the strongest value of each option; weaker ones that differ are `ignored`. Raises UsageError."""
    merged = Merged()
    for rank, name, said in _entries(layers):
        option = BY_NAME[name]
        winner = merged.winners.get(name)
        if winner is None:
            merged.winners[name] = Sourced(typed(option, said), said.origin)
            merged.ranks[name] = rank
        elif not _equal(option, winner, said):
            merged.ignored.append(Ignored(name, said.origin, f"{winner.origin} wins"))
    return merged


def without(layer: Layer, *names: str) -> Layer:
    """Return the layer without some options."""
    return Layer({name: said for name, said in layer.values.items() if name not in names}, layer.strict)


def _entries(layers: Iterable[Layer]) -> Iterator[tuple[int, str, Sourced[object]]]:
    for rank, layer in enumerate(layers):
        for name, said in layer.values.items():
            yield rank, name, said


def _equal(option: Option, winner: Sourced[object], loser: Sourced[object]) -> bool:
    """Return whether the loser says the same: a gunicorn.conf.py that reads PORT has not ignored it."""
    try:
        return typed(option, loser) == winner.value
    except UsageError:
        return False
