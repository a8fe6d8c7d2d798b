"""Does the protocol of the lock hold in every history, and does each of its rules have a reason?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "docs/model/check.py"


@pytest.mark.timeout(600)  # some seconds on an idle machine; a state space is searched to its end or says nothing
def test_the_protocol_holds_and_every_mutant_breaks_what_its_rule_is_for() -> None:
    """With every state searched the protocol keeps its properties; each rule left out costs the expected one."""
    checked = subprocess.run(
        [sys.executable, CHECK, "--quick"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )

    assert 0 == checked.returncode, checked.stdout
    assert "WRONG" not in checked.stdout
