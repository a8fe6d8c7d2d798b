"""Where do crash reports go over HTTP?

`plugin` has the hook; nothing here needs to be imported by an application.
"""

from __future__ import annotations
