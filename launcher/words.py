"""How is a number kept in memory that processes share?

As an aligned native word, stored and loaded at once: whoever reads gets a number that was written, never half of one.
"""

from __future__ import annotations

from typing import Protocol

WORD_BYTES = 8


class Memory(Protocol):
    """What words are part of: two views of the same bytes."""

    words: memoryview[int]
    reals: memoryview[float]


class Word:
    """An integer (64 bits, signed) of the memory of its owner."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __get__(self, owner: Memory, _: type | None = None) -> int:
        return owner.words[self.index]

    def __set__(self, owner: Memory, value: int) -> None:
        owner.words[self.index] = value


class Flag(Word):
    """A truth of the memory of its owner."""

    def __get__(self, owner: Memory, _: type | None = None) -> bool:
        return bool(owner.words[self.index])


class Real:
    """A floating-point number of the memory of its owner."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __get__(self, owner: Memory, _: type | None = None) -> float:
        return owner.reals[self.index]

    def __set__(self, owner: Memory, value: float) -> None:
        owner.reals[self.index] = value
