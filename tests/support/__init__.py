"""What do the tests of the core and of the plugins share?"""

from __future__ import annotations
