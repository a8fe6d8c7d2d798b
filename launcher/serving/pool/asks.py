"""What does the monitor ask of the pool?

Over the event channel, which can say what signals cannot: which worker, how many, and what came of it. The answer to
an ask is sent when its outcome is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launcher.channel import Channel
from launcher.errors import ExitCode
from launcher.serving.pool.decisions import Pool
from launcher.serving.pool.wanted import MOST_WORKERS, Answer


def hear(pool: Pool, channel: Channel) -> None:
    """Carry out everything that has been asked, and hear what has become of reports."""
    for message in channel.receive():
        if "ask" in message:
            carry_out(pool, message, _answer_to(channel, message.get("id")))
        else:
            pool.voice.hear(message)


def _answer_to(channel: Channel, number: object) -> Answer:
    def answer(code: int, because: str) -> None:
        channel.send({"answer": number, "code": int(code), "because": because})

    return answer


def carry_out(pool: Pool, message: Mapping[str, Any], answer: Answer) -> None:
    """Do one thing that was asked for; `answer` is called with (exit code, reason) when its outcome is known."""
    match message:
        case {"ask": "reload"}:
            pool.reload(answer)
        case {"ask": "scale", "workers": int(workers)} if workers > MOST_WORKERS:
            answer(ExitCode.USAGE, f"a pool has at most {MOST_WORKERS} workers")
        case {"ask": "scale", "workers": int(workers)} if workers > 0:
            pool.scale(workers, answer)
        case {"ask": "recycle", "pid": int(pid)}:
            pool.recycle(pid, str(message.get("because", "asked")), answer)
        case {"ask": "stop"}:
            pool.stop("asked", quick=bool(message.get("quick")))
            answer(ExitCode.OK, "")
        case _:
            _carry_out_for_memory(pool, message, answer)


def _carry_out_for_memory(pool: Pool, message: Mapping[str, Any], answer: Answer) -> None:
    """Do what the monitor asks for by itself, when it has seen how much there is of it."""
    because = str(message.get("because", "asked"))
    match message:
        case {"ask": "shrink", "workers": int(workers), "pid": int() | None as pid}:
            pool.size.shrink(pool, workers, pid, because, answer)
        case {"ask": "grow_back"}:
            pool.size.grow_back(pool, because, answer)
        case {"ask": "remeasure"}:
            pool.remeasure(because, answer)
        case _:
            answer(ExitCode.USAGE, f"nothing that can be asked: {dict(message)}")
