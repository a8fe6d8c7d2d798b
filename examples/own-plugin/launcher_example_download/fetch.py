"""How does a file get here whole or not at all? `python -m launcher_example_download.fetch FILE SHA256 < URL`."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

CONNECT_TIMEOUT_S = 30


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a file in hexadecimal, or None when there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def fetch(url: str, to: Path, sha256: str) -> None:
    """Write the file beside its place and rename it when the checksum is right; exit with a message when not."""
    to.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=to.parent, prefix=f".{to.name}.")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file, urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as answer:  # noqa: S310 - the URL is the operator's own setting
            while block := answer.read(1 << 16):
                file.write(block)
        if (found := digest(part)) != sha256:
            sys.exit(f"{to.name} should have the SHA-256 {sha256} and has {found}")
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)


if __name__ == "__main__":
    fetch(sys.stdin.read(), Path(sys.argv[1]), sys.argv[2])
