"""How does the monitor's process begin?

`python -P -m launcher.monitor`, started by `launcher.monitoring` with the plan in an inherited descriptor.
"""

from __future__ import annotations

import os

from launcher.crossing import read_plan
from launcher.monitor.process import Monitor

if __name__ == "__main__":
    Monitor(read_plan(os.environ)).run()
