"""How is told what trials have measured, to a person and to a program?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from launcher.cli.tables import Row, show
from launcher.masking import masked
from launcher.units import human_bytes

if TYPE_CHECKING:
    from launcher.boot.trials.judged import Trial

_COLUMNS = ("way", "worker", "shared", "fit", "would start", "together", "note")
_NOTHING = "-"


def print_measured(trials: Sequence[Trial]) -> None:
    """Print one line for each way that was tried, or could not be."""
    show("measured", _COLUMNS, [_row(trial) for trial in trials])
    if sums := [(trial.name, trial.sum) for trial in trials if trial.sum]:
        show("their sums", ("",) * 2, sums)
    if any(trial.preload and trial.measured is not None for trial in trials):
        show("mind", ("",), [("what is shared ceases to be when requests write to it (a Python object: when read)",)])


def as_measured(trials: Sequence[Trial]) -> list[dict[str, object]]:
    """Return it for the published document."""
    return [_document(trial) for trial in trials]


def _row(trial: Trial) -> Row:
    found = trial.measured
    return (
        trial.name,
        human_bytes(found.worker_bytes) if found else _NOTHING,
        human_bytes(found.shared_bytes) if found else _NOTHING,
        _NOTHING if trial.fitting is None else str(trial.fitting),
        _NOTHING if trial.workers is None else str(trial.workers),
        _NOTHING if trial.together_bytes is None else human_bytes(trial.together_bytes),
        masked(trial.note),
    )


def _document(trial: Trial) -> dict[str, object]:
    found = trial.measured
    return {
        "preload": trial.preload,
        "safe": trial.is_safe,
        "worker_bytes": found.worker_bytes if found else None,
        "peak_bytes": found.peak_bytes if found else None,
        "shared_bytes": found.shared_bytes if found else None,
        "provisional": found.provisional if found else None,
        "regions": [{"name": one.name, "bytes": one.bytes, "source": one.source} for one in trial.regions],
        "fitting": trial.fitting,
        "workers": {"count": trial.workers, "because": trial.because} if trial.workers is not None else None,
        "together_bytes": trial.together_bytes,
        "answers": dict(trial.answers),
        "sum": trial.sum or None,
        "note": masked(trial.note),
    }
