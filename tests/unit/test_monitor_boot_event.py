"""Is a probe told for how long the start has been at something?"""

from __future__ import annotations

from typing import Any

from launcher.boot.watched_start import boot_event


def since(*said: tuple[str, str]) -> list[float]:
    """Return the instants that are told when this is said, each a second after the other: step, what is waited for."""
    told: list[dict[str, Any]] = [{}]
    for now, (step, waiting_for) in enumerate(said):
        told.append(boot_event(step, waiting_for, told[-1], now))
    return [one["since"] for one in told[1:]]


def test_a_wait_for_the_same_is_one_wait() -> None:
    """Whoever holds the lock, whichever step it is at, and however much of the work is still missing."""
    lock = [
        ("", "the lock db (held by a, step 'x')"),
        ("", "the lock db (held by a, step 'y')"),
        ("", "the lock db (b)"),
    ]
    steps = [("", "somebody to do x: due; y: due"), ("", "somebody to do x: due")]

    assert [0, 0, 0] == since(*lock)
    assert [0, 0] == since(*steps)


def test_anything_else_begins_anew() -> None:
    """A step after a wait, the next step, another lock; the same once more does not."""
    assert [0, 1, 1, 3, 4, 5] == since(
        ("", "the lock db (a)"), ("x", ""), ("x", ""), ("y", ""), ("", "the lock db (a)"), ("", "the lock other (a)")
    )
