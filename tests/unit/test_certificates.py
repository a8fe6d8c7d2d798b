"""Are new certificates noticed when, and only when, they can be used?"""

from __future__ import annotations

import io
import subprocess
from contextlib import redirect_stderr
from typing import TYPE_CHECKING

import pytest

from launcher.log import log
from launcher.serving.certificates import EVERY_S, CertificateWatch

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "let-me-in"


def make(folder: Path, name: str, password: str = "") -> Path:
    """Make a self-signed pair `name/{tls.crt,tls.key}`; return its folder."""
    pair = folder / name
    pair.mkdir()
    protection = ["-passout", f"pass:{password}"] if password else ["-noenc"]
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *protection]
    words += ["-subj", f"/CN={name}", "-days", "2", "-keyout", str(pair / "tls.key"), "-out", str(pair / "tls.crt")]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    return pair


class Looks:
    """Looks again and again, each time when it is time."""

    def __init__(self, folder: Path, password: str | None = None) -> None:
        self.watch = CertificateWatch([str(folder / "tls.crt"), str(folder / "tls.key")], password)
        self.now = 1000.0

    def changed(self) -> bool:
        """Return the answer at the next time to look."""
        self.now += EVERY_S
        return self.watch.changed(self.now)


def said(looks: Looks, times: int) -> tuple[list[bool], str]:
    """Return the answers of so many looks, and what was logged meanwhile."""
    log.configure("json", "info")
    with redirect_stderr(io.StringIO()) as stderr:
        answers = [looks.changed() for _ in range(times)]
    return answers, stderr.getvalue()


def put(pair: Path, target: Path, *names: str) -> None:
    """Write files of a pair over those of another, as a renewal does."""
    for name in names or ("tls.crt", "tls.key"):
        (target / name).write_bytes((pair / name).read_bytes())


def test_a_new_pair_is_told_once(tmp_path: Path) -> None:
    """Nothing is told while nothing changes; a new pair is told once."""
    served, new = make(tmp_path, "served"), make(tmp_path, "new")
    looks = Looks(served)
    before = looks.changed()
    put(new, served)
    answers = [looks.changed() for _ in range(3)]

    assert not before
    assert [True, False, False] == answers


def test_looks_are_ten_seconds_apart(tmp_path: Path) -> None:
    """Between two looks the files are not asked."""
    served, new = make(tmp_path, "served"), make(tmp_path, "new")
    looks = Looks(served)
    looks.changed()
    put(new, served)

    assert not looks.watch.changed(looks.now + EVERY_S - 0.1)
    assert looks.watch.changed(looks.now + EVERY_S)


@pytest.mark.parametrize("first", ["tls.crt", "tls.key"])
def test_half_a_pair_waits(tmp_path: Path, first: str) -> None:
    """A certificate without its key, in either order, is told when the other half is there, and lamented once."""
    served, new = make(tmp_path, "served"), make(tmp_path, "new")
    looks = Looks(served)
    put(new, served, first)
    answers, lines = said(looks, 4)
    put(new, served)

    assert not any(answers)
    assert 1 == lines.count("launcher.certificate_unusable")
    assert looks.changed()


def test_one_look_between_two_writes_says_nothing(tmp_path: Path) -> None:
    """A renewal that is looked at in the middle is no event."""
    served, new = make(tmp_path, "served"), make(tmp_path, "new")
    looks = Looks(served)
    put(new, served, "tls.crt")
    answers, lines = said(looks, 1)
    put(new, served, "tls.key")

    assert [False] == answers
    assert "" == lines
    assert looks.changed()


def test_a_removed_certificate_waits(tmp_path: Path) -> None:
    """Files that are gone change nothing; when the same come back they are served anew."""
    served = make(tmp_path, "served")
    looks = Looks(served)
    kept = (served / "tls.crt").read_bytes()
    (served / "tls.crt").unlink()
    gone = looks.changed()
    (served / "tls.crt").write_bytes(kept)

    assert not gone
    assert looks.changed()


def test_a_folder_behind_a_link(tmp_path: Path) -> None:
    """Kubernetes exchanges the link `..data` between folders: the files' own links never change."""
    first, second = make(tmp_path, "first"), make(tmp_path, "second")
    mount = tmp_path / "mount"
    mount.mkdir()
    (mount / "..data").symlink_to(first)
    for name in ("tls.crt", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    looks = Looks(mount)
    before = looks.changed()
    (mount / "..data_tmp").symlink_to(second)
    (mount / "..data_tmp").rename(mount / "..data")

    assert not before
    assert looks.changed()


def test_certificate_and_key_in_one_file(tmp_path: Path) -> None:
    """A file that holds both needs no key beside it."""
    served, new = make(tmp_path, "served"), make(tmp_path, "new")
    both = tmp_path / "both.pem"
    both.write_bytes((served / "tls.crt").read_bytes() + (served / "tls.key").read_bytes())
    watch = CertificateWatch([str(both), None])
    both.write_bytes((new / "tls.crt").read_bytes() + (new / "tls.key").read_bytes())

    assert watch.changed(1000.0)


@pytest.mark.parametrize("password", [PASSWORD, None])
def test_a_key_with_a_password_asks_nobody(tmp_path: Path, password: str | None) -> None:
    """With the password the pair is tried; without it no terminal is asked, and the pair is believed."""
    served, new = make(tmp_path, "served", PASSWORD), make(tmp_path, "new", PASSWORD)
    looks = Looks(served, password)
    put(new, served)

    assert looks.changed()


def test_no_certificates() -> None:
    """Without TLS there is nothing to look at."""
    assert not CertificateWatch([None, None]).changed(1000.0)
    assert not CertificateWatch([]).changed(1000.0)
