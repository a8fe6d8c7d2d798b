"""Do the files of the real prometheus_client stay right and few while workers come and go?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector

from launcher.serving.metrics_files import mark_dead, metrics_folder, wipe

if TYPE_CHECKING:
    from pathlib import Path

    from support.spawning import Spawner

APP = """
from prometheus_client import Counter, Gauge, Histogram, Summary
hits = Counter("hits", "requests", ["path"])
plain = Counter("plain", "without labels")
busy = Gauge("busy", "under way", multiprocess_mode="livesum")
size = Histogram("size", "bytes")
took = Summary("took", "seconds")

def work():
    hits.labels("/").inc()
    plain.inc()
    busy.inc()
    size.observe(1)
    took.observe(1)
"""
# A worker that is started afresh, as uvicorn's.
SPAWNED = f"""
import sys
from launcher.serving.metrics_files import use_slot
use_slot(int(sys.argv[1]))
{APP}
work()
"""
# Workers that are forked from a process that has imported the application, as with --preload.
PRELOADED = f"""
import os, sys
from launcher.serving.metrics_files import use_slot
use_slot(None)
{APP}
def in_child(action):
    if not (child := os.fork()):
        action()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def worker(slot):
    use_slot(slot)
    work()

for slot in map(int, sys.argv[1:]):
    in_child(lambda: worker(slot))
"""
# What a worker forks itself is another process: it must not write into the same file at the same time.
FORKS = f"""{SPAWNED}
import os
if not (child := os.fork()):
    work()
    os._exit(0)
os.waitpid(child, 0)
print(child)
"""
KINDS = {"counter", "gauge_livesum", "histogram", "summary"}


def run(spawn: Spawner, folder: Path, program: str, *words: str) -> str:
    """Run a program with the folder for its metrics; return what it prints."""
    launched = spawn([sys.executable, "-c", program, *words], env={"PROMETHEUS_MULTIPROC_DIR": str(folder)})
    assert 0 == launched.wait(), launched
    return launched.stdout.strip()


def scraped(folder: Path, name: str) -> float | None:
    """Return what a scrape of the folder says of a metric, all processes together."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]  # the library's own
    return registry.get_sample_value(name, {"path": "/"} if name == "hits_total" else {})


def names(folder: Path) -> set[str]:
    """Return the names of the files."""
    return {path.name for path in folder.iterdir() if path.is_file()}


def test_successors_go_on_in_the_same_files(spawn: Spawner, tmp_path: Path) -> None:
    """Three workers of a slot, one after another, leave as many files as one, and the counters have counted on."""
    for _ in range(3):
        run(spawn, tmp_path, SPAWNED, "1")
        mark_dead(tmp_path, 1)
    run(spawn, tmp_path, SPAWNED, "12")

    assert {f"{kind}_{slot}.db" for kind in KINDS for slot in (1, 12)} - {"gauge_livesum_1.db"} == names(tmp_path)
    assert 4 == scraped(tmp_path, "hits_total") == scraped(tmp_path, "plain_total")
    assert 4 == scraped(tmp_path, "size_count") == scraped(tmp_path, "took_count")
    assert 1 == scraped(tmp_path, "busy")


def test_workers_of_a_preloaded_application(spawn: Spawner, tmp_path: Path) -> None:
    """Metrics made before the fork follow into the slot of each worker; a new template adds no files."""
    for _ in range(2):
        run(spawn, tmp_path, PRELOADED, "0", "1", "0")

    assert {f"{kind}_{process}.db" for kind in KINDS for process in (0, 1, "template")} == names(tmp_path)
    assert 6 == scraped(tmp_path, "hits_total") == scraped(tmp_path, "plain_total")


def test_what_a_worker_forks_has_files_of_its_own(spawn: Spawner, tmp_path: Path) -> None:
    """Two processes never write into one file."""
    child = run(spawn, tmp_path, FORKS, "3")

    assert {f"counter_{process}.db" for process in (3, child)} == {n for n in names(tmp_path) if "counter" in n}
    assert 2 == scraped(tmp_path, "hits_total")


def test_without_a_folder_nothing_is_imported(spawn: Spawner) -> None:
    """Where nobody asked for files, prometheus_client is not touched."""
    program = (
        "import sys; from launcher.serving.metrics_files import use_slot; use_slot(1); "
        "print('prometheus_client' in sys.modules)"
    )
    launched = spawn([sys.executable, "-c", program])

    assert 0 == launched.wait(), launched
    assert "False" == launched.stdout.strip()


def test_without_the_library(spawn: Spawner, tmp_path: Path) -> None:
    """The variable alone, without prometheus_client, is no mistake."""
    program = (
        "import sys; sys.modules['prometheus_client'] = None; "
        "from launcher.serving.metrics_files import use_slot; use_slot(1)"
    )

    assert "" == run(spawn, tmp_path, program)


def test_wiping(tmp_path: Path) -> None:
    """Files of earlier processes go, others stay; a folder that is missing is made."""
    kept = {"notes.txt", "app.db", "counters.db", "gauge.db"}
    gone = {"counter_1.db", "gauge_all_7.db", "gauge_livesum_template.db", "histogram_12.db", "summary_1.db"}
    folder = tmp_path / "metrics"
    folder.mkdir()
    for name in kept | gone:
        (folder / name).touch()
    wipe(folder)
    wipe(tmp_path / "a" / "b")

    assert kept == names(folder)
    assert (tmp_path / "a" / "b").is_dir()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """What cannot be done stops nobody."""
    (tmp_path / "file").touch()
    wipe(tmp_path / "file")
    mark_dead(tmp_path / "file", 1)

    assert metrics_folder({}) is None
    assert tmp_path == metrics_folder({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)})
    assert tmp_path == metrics_folder({"prometheus_multiproc_dir": str(tmp_path)})
