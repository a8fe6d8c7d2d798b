"""How does the plugin host begin?

`python -P -m launcher.plugin_host`, started by `launcher.monitor.host` with the plan in an inherited descriptor.
"""

from __future__ import annotations

import os
import sys

from launcher.crossing import PLAN_FD, read_plan
from launcher.plugin_host.host import PluginHost

if __name__ == "__main__":
    plan = read_plan(os.environ)
    os.environ.pop(PLAN_FD, None)  # it was for us, not for what a plugin starts
    PluginHost(plan).run()
    sys.stderr.flush()
    os._exit(0)  # a plugin's thread must not hold us
