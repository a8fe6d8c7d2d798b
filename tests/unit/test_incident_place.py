"""Are reports kept where nobody else can put or take any?"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from launcher.incidents.place import crash_folder
from launcher.instances.runtime_places import Place

ME = os.geteuid()
needs_root = pytest.mark.skipif(ME != 0, reason="only root can give a folder away")
no_root = pytest.mark.skipif(ME == 0, reason="root may write anywhere")


def mode(path: Path) -> int:
    """Return the permissions."""
    return stat.S_IMODE(path.lstat().st_mode)


def test_the_named_one_is_made(tmp_path: Path) -> None:
    """With its parents, for nobody else; whatever other place there may be."""
    named = tmp_path / "a" / "b"
    usual = [Place(tmp_path / "usual", ME)]

    assert (named, "") == crash_folder({}, named, usual=usual)
    assert (named, "") == crash_folder({}, named, usual=usual)
    assert 0o700 == mode(named)
    assert not (tmp_path / "usual").exists()


def test_a_named_one_is_the_only_one(tmp_path: Path) -> None:
    """A file in its place: there is no folder, and the reason names the path."""
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    folder, because = crash_folder({}, tmp_path / "file", usual=[Place(tmp_path / "usual", ME)])

    assert folder is None
    assert f"{tmp_path / 'file'} is not a folder" == because
    assert "mine" == (tmp_path / "file").read_text(encoding="utf-8")


def test_a_link_is_refused(tmp_path: Path) -> None:
    """Somebody else may have set it; also in the usual place."""
    (tmp_path / "real").mkdir()
    (tmp_path / "usual").mkdir(mode=0o700)
    for link in (tmp_path / "link", tmp_path / "usual" / "crashes"):
        link.symlink_to(tmp_path / "real")

    assert (None, f"{tmp_path / 'link'} is a symbolic link") == crash_folder({}, tmp_path / "link")
    assert (None, f"{tmp_path / 'usual' / 'crashes'} is a symbolic link") == crash_folder(
        {}, usual=[Place(tmp_path / "usual", ME)]
    )


@needs_root
def test_the_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    """He could remove what is in it."""
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.chown(theirs, 12345, 12345)

    assert (None, f"{theirs} belongs to uid 12345, not to uid 0") == crash_folder({}, theirs)


@no_root
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """The reason says so before there is anything to keep."""
    (tmp_path / "locked").mkdir(mode=0o500)

    assert (None, f"{tmp_path / 'locked'} cannot be written by uid {ME}") == crash_folder({}, tmp_path / "locked")


def test_the_first_that_can_be_used(tmp_path: Path) -> None:
    """Without a name: `crashes` in the first usual place; a bad one is passed over."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    usual = [Place(tmp_path / "file", ME), Place(tmp_path / "nobody" / "here", ME), Place(tmp_path / "good", ME)]

    assert (tmp_path / "good" / "crashes", "") == crash_folder({}, usual=usual)
    assert (0o700, 0o700) == (mode(tmp_path / "good"), mode(tmp_path / "good" / "crashes"))


def test_there_may_be_none(tmp_path: Path) -> None:
    """Then it is said why; a name that no path can be is no error either."""
    assert (None, "no folder of this user is there") == crash_folder({}, usual=[])
    assert crash_folder({}, usual=[Place(tmp_path / "nobody" / "here", ME)])[1].startswith(str(tmp_path))
    assert "embedded null" in crash_folder({}, tmp_path / "a\0b")[1]  # Pythons differ in the rest


def test_the_environment_says_where(tmp_path: Path) -> None:
    """`XDG_RUNTIME_DIR` is the best of the usual places, as for the management socket."""
    assert (tmp_path / "launcher" / "crashes", "") == crash_folder({"XDG_RUNTIME_DIR": str(tmp_path)})
