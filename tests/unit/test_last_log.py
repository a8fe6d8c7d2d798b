"""Does a worker's last log keep what opens something?"""

from __future__ import annotations

import logging

import pytest

from launcher.scoreboard import Board
from launcher.serving.workers.last_log import remember

URL = f"postgresql://app:S3kr{'et' * 1500}@db/orders"


@pytest.mark.parametrize("before", [0, 150, 1950, 1985, 3000])
def test_no_password_is_kept_wherever_a_message_is_cut(before: int) -> None:
    """It is masked before it is cut: a URL whose end lies behind the cut is still one."""
    board, factory = Board.create(), logging.getLogRecordFactory()
    slot = board.slot(1)
    slot.clear(generation=1, number=1)
    try:
        remember(slot)
        logging.getLogRecordFactory()("app", logging.ERROR, __file__, 1, f"{'x' * before} {URL}", (), None)
    finally:
        logging.setLogRecordFactory(factory)
    kept = "".join(slot.read().last_log)

    assert kept.startswith("ERROR app: ")
    assert "S3kr" not in kept
