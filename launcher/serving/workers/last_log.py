"""What did a worker log last?

Warnings and errors of every logger, kept in its slot, where they outlive it. By logging's record factory: a handler on
the root logger would keep `basicConfig` from working, and Python from printing warnings of who has configured nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from launcher.masking import masked
from launcher.scoreboard import Slot

_MOST = 2000  # characters of a message: the slot keeps a tenth
_MOST_MASKED = 4 * _MOST  # masking takes the longer the more there are, and has to see the end of a URL that is cut


def remember(slot: Slot) -> None:
    """Begin to keep records of this process in `slot`; a factory that is there already makes them, as before."""
    make = logging.getLogRecordFactory()

    def make_and_keep(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.levelno >= logging.WARNING:
            slot.keep_log(_line(record))
        return record

    logging.setLogRecordFactory(make_and_keep)


def _line(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception:  # noqa: BLE001 - arguments that do not fit their message: logging itself will say so
        text = str(record.msg)
    return masked(f"{record.levelname} {record.name}: {text[:_MOST_MASKED]}")[:_MOST]
