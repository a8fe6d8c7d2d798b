"""What must not be seen?

URLs carry passwords, and URLs are printed: by steps, drivers, errors and plans. Everything that leaves the process as
text goes through here.
"""

from __future__ import annotations

import re

MASK = "***"
_USERINFO = re.compile(
    r"(?P<head>[a-zA-Z][a-zA-Z0-9+.\-]*://[^\s/:@?#'\"]*):(?P<password>[^\s'\"]*?)@(?=[^\s@/]*(?:[/?\s'\",;)]|$))"
)
_PARAMETER = re.compile(
    r"(?P<head>\b(?:password|passwd|pwd|token|secret|api[_-]?key|access[_-]?key)\s*=\s*)(?P<password>[^\s&'\";,)]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return `text` with the passwords of URLs (`scheme://user:***@host`) and of `password=...` pairs masked."""
    if "://" in text:
        text = _USERINFO.sub(rf"\g<head>:{MASK}@", text)
    return _PARAMETER.sub(rf"\g<head>{MASK}", text) if "=" in text else text
