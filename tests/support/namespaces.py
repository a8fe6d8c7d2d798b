"""Can a test have namespaces of its own, and what when it cannot?"""

from __future__ import annotations

import os
import shutil
import sys

import pytest

NAMESPACES = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare") is not None

# In CI nothing is skipped in silence: there the test is carried out, and fails with what `unshare` says.
needs_namespaces = pytest.mark.skipif(
    not NAMESPACES and os.environ.get("CI") != "true", reason="needs namespaces of its own: root and unshare, on Linux"
)
