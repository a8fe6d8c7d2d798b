"""Does the model keep its promises, and does it break each of them when a rule is left out?

    python docs/model/check.py [--quick]

Searches every reachable state of each variant of once_only.pml with spin (exhaustively, no bit-state hashing). Exit
code 0: the protocol holds, and every mutant breaks the very property that its rule is there for; 1: not so; 2: spin or
a C compiler is missing. `--quick` searches the protocol with one mishap less.
"""  # noqa: INP001 - a script beside what it checks, not a package

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("once_only.pml")
JOBS = 2
_LIMIT_MB, _DEPTH = 900, 100_000
_SEARCH_S = 400.0  # a search takes seconds; on a machine that is busy with other things more
_STUCK = "NEVER STUCK"  # the only property that is not an assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One search. `breaks`: the property that has to be violated; empty when all have to hold."""

    name: str
    defines: Sequence[str]
    mishaps: int
    breaks: str = ""

    @property
    def flags(self) -> list[str]:
        """What spin's preprocessor is told."""
        return [f"-D{name}" for name in (*self.defines, f"FAULTS={self.mishaps}")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a search has found. `broken`: the violated property; `trouble`: why the search says nothing."""

    broken: str = ""
    trouble: str = ""
    states: int = 0
    depth: int = 0
    megabytes: float = 0.0
    seconds: float = 0.0


ANY_SPEED, TIMELY, LIVE = ("RENAMED",), ("RENAMED", "TIMELY"), ("TIMELY", "LIVENESS")
PROTOCOL = (
    Variant(name="launchers of any speed", defines=ANY_SPEED, mishaps=3),
    Variant(name="two releases", defines=("TWO_RELEASES",), mishaps=2),
    Variant(name="stopped, cut off, else timely", defines=TIMELY, mishaps=3),
    Variant(name="the fleet settles", defines=LIVE, mishaps=2),
)
MUTANTS = (
    Variant(name="NO_GRACE", defines=("NO_GRACE", *ANY_SPEED), mishaps=1, breaks="NEVER TWO"),
    Variant(name="NO_MARGIN", defines=("NO_MARGIN", *ANY_SPEED), mishaps=1, breaks="NEVER TWO"),
    Variant(name="OWN_RECORD_ONLY", defines=("OWN_RECORD_ONLY", "TWO_RELEASES"), mishaps=1, breaks="NEVER TWO"),
    Variant(name="UNASKED_TAKEOVER", defines=("UNASKED_TAKEOVER", *ANY_SPEED), mishaps=2, breaks="NEVER TWO"),
    Variant(name="WORD_WITHOUT_TIME", defines=("WORD_WITHOUT_TIME", *ANY_SPEED), mishaps=1, breaks="NEVER TWO"),
    Variant(name="NO_GUARD_LEASE", defines=("NO_GUARD_LEASE", *TIMELY), mishaps=1, breaks="DEAD IN TIME"),
    Variant(name="LEASE_FROM_START", defines=("LEASE_FROM_START", *ANY_SPEED), mishaps=0, breaks="DEAD IN TIME"),
    Variant(name="UNCONFIRMED_START", defines=("UNCONFIRMED_START", *ANY_SPEED), mishaps=0, breaks="DEAD IN TIME"),
    Variant(name="SHORT_EXPIRY", defines=("SHORT_EXPIRY", *ANY_SPEED), mishaps=0, breaks="DEAD IN TIME"),
    Variant(name="NO_TOKEN", defines=("NO_TOKEN", *ANY_SPEED), mishaps=1, breaks="NEVER BESIDE"),
    Variant(name="TOKEN_ALONE", defines=("TOKEN_ALONE", *ANY_SPEED), mishaps=1, breaks="ONCE"),
    Variant(name="BLIND_BEGIN", defines=("BLIND_BEGIN", *ANY_SPEED), mishaps=1, breaks="ONCE"),
    Variant(name="NO_RECHECK", defines=("NO_RECHECK", *ANY_SPEED), mishaps=0, breaks="ONCE"),
    Variant(name="FAIL_OPEN", defines=("FAIL_OPEN", *ANY_SPEED), mishaps=0, breaks="NEVER HALF"),
    Variant(name="BLOCKING_WAIT", defines=("BLOCKING_WAIT", *LIVE), mishaps=0, breaks=_STUCK),
)


def search(variant: Variant) -> Outcome:
    """Search one variant to its end, in a folder of its own."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="launcher-model-") as folder:
        shutil.copy(MODEL, folder)
        live = "LIVENESS" in variant.defines
        build = ["-O2", "-w", "-DVECTORSZ=1024", f"-DMEMLIM={_LIMIT_MB}", "-DNFAIR=3" if live else "-DSAFETY"]
        made = _run(["spin", *variant.flags, "-a", MODEL.name], folder)
        made += _run(["cc", *build, "-o", "pan", "pan.c"], folder)
        if not Path(folder, "pan").exists():
            return Outcome(trouble=f"it cannot be built:\n{made}")
        said = _run(["./pan", f"-m{_DEPTH}", "-w22", *(["-a", "-f"] if live else [])], folder)
        broken = _property(variant, said, folder) if "errors: 0" not in said else ""
    found = re.search(r"depth reached (\d+), errors: (\d+)\n\s*(\d+) states, stored", said)
    memory = re.search(r"([\d.]+)\ttotal actual memory usage", said)
    if found is None or memory is None:
        return Outcome(trouble=f"spin says nothing that can be understood:\n{said}")
    cut_short = re.search(r"(?m)^(.*(?:too small|truncated|out of memory|reached -DMEMLIM|not completed).*)$", said)
    return Outcome(
        broken=broken,
        trouble=cut_short[1] if cut_short and not broken else "",
        states=int(found[3]),
        depth=int(found[1]),
        megabytes=float(memory[1]),
        seconds=time.monotonic() - started,
    )


def _property(variant: Variant, said: str, folder: str) -> str:
    """Return the name of the violated property: in capitals behind its assertion, which the replayed trail names."""
    if "acceptance cycle" in said:
        return _STUCK
    replayed = _run(["spin", *variant.flags, "-t", MODEL.name], folder)
    line = re.search(r":(\d+), Error: assertion violated", replayed)
    if line is None:
        return "invalid end state" if "invalid end state" in said else "something else"
    source = MODEL.read_text(encoding="utf-8").splitlines()[int(line[1]) - 1]
    name = re.search(r"/\* ([A-Z][A-Z ]+[A-Z])", source)
    return name[1] if name else source.strip()


def _run(argv: list[str], folder: str) -> str:
    ended = subprocess.run(
        argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SEARCH_S, check=False
    )
    return ended.stdout


def verdict(variant: Variant, outcome: Outcome) -> tuple[bool, str]:
    """Tell whether a search ended as it has to, and in words how it did."""
    if outcome.trouble:
        return False, outcome.trouble
    if variant.breaks:
        words = f"breaks {outcome.broken}" if outcome.broken else "breaks nothing"
        return outcome.broken == variant.breaks, words
    return not outcome.broken, f"breaks {outcome.broken}" if outcome.broken else "holds"


def report(variant: Variant, outcome: Outcome) -> bool:
    """Write one line of the table; return whether it is as it has to be."""
    good, words = verdict(variant, outcome)
    sizes = f"{outcome.states:>9} {outcome.depth:>6} {outcome.megabytes:>5.0f} {outcome.seconds:>6.1f}"
    wanted = f"   WRONG: expected {variant.breaks or 'to hold'}" if not good else ""
    sys.stdout.write(f"{variant.name:<30} {variant.mishaps:>7} {sizes}  {words}{wanted}\n")
    sys.stdout.flush()
    return good


def main() -> int:
    """Search all variants; see the module's first lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the protocol with one mishap less")
    quick = parser.parse_args().quick
    if missing := [program for program in ("spin", "cc") if shutil.which(program) is None]:
        sys.stderr.write(
            f"error: not on this machine: {', '.join(missing)}\ntry:   apt-get install spin gcc libc6-dev\n"
        )
        return 2
    started = time.monotonic()
    protocol = [Variant(name=v.name, defines=v.defines, mishaps=v.mishaps - 1) if quick else v for v in PROTOCOL]
    variants = [*protocol, *MUTANTS]
    longest_first = sorted(variants, key=lambda v: ("LIVENESS" not in v.defines, bool(v.breaks)))
    with ThreadPoolExecutor(JOBS) as pool:
        running = {id(variant): pool.submit(search, variant) for variant in longest_first}
        sys.stdout.write(f"{'':<30} {'mishaps':>7} {'states':>9} {'depth':>6} {'MB':>5} {'s':>6}\n")
        good = [report(variant, running[id(variant)].result()) for variant in variants]
    right, took_s = sum(good), time.monotonic() - started
    sys.stdout.write(f"{right} of {len(good)} as they have to be, every state searched, in {took_s:.0f} s\n")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
