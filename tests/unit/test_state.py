"""Is the shared place the same for every start, and nobody else's?"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.errors import UsageError
from launcher.state import FOLDER, make_state_dir, state_dir

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """Set the umask: an init system's, a distribution's for users, the usual one, a careful one."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def private(tmp_path: Path) -> Path:
    """Return a place as a read-only project gets it."""
    return tmp_path / f"launcher-{os.getuid()}" / "0123456789abcdef"


def test_it_is_in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is the project's own folder, whatever HOME and TMPDIR say."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))

    assert tmp_path / FOLDER == state_dir(tmp_path)


def test_looking_makes_nothing(tmp_path: Path) -> None:
    """Asking for the place does not make it."""
    state_dir(tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_it_keeps_itself_out_of_git(tmp_path: Path) -> None:
    """The folder in the project ignores itself; an ignore file of the user's stays."""
    ignore = make_state_dir(state_dir(tmp_path)) / ".gitignore"
    first = ignore.read_text()
    ignore.write_text("mine")
    make_state_dir(state_dir(tmp_path))

    assert ("*\n", "mine") == (first, ignore.read_text())


def test_the_temporary_one_is_private(tmp_path: Path, umask: int) -> None:
    """Whatever the umask is, both levels of the folder are the user's alone, and a second start accepts them."""
    make_state_dir(private(tmp_path))
    path = make_state_dir(private(tmp_path))

    assert [0o700, 0o700] == [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path)]


def test_a_planted_link_is_refused(tmp_path: Path) -> None:
    """A link in the shared folder, as another user may have put there, is not followed: nothing is made behind it."""
    (tmp_path / "theirs").mkdir()
    private(tmp_path).parent.symlink_to(tmp_path / "theirs")
    with pytest.raises(UsageError, match="is not a private folder") as caught:
        make_state_dir(private(tmp_path))

    assert [] == list((tmp_path / "theirs").iterdir())
    assert "--lock file:PATH" in caught.value.cure


def test_a_planted_inner_link_is_refused(tmp_path: Path) -> None:
    """A link below our own folder is refused too."""
    (tmp_path / "theirs").mkdir()
    private(tmp_path).parent.mkdir(mode=0o700)
    private(tmp_path).symlink_to(tmp_path / "theirs")

    with pytest.raises(UsageError, match="is not a private folder"):
        make_state_dir(private(tmp_path))


def test_a_folder_open_to_others_is_refused(tmp_path: Path) -> None:
    """A folder that others may write to is refused."""
    private(tmp_path).parent.mkdir()
    private(tmp_path).parent.chmod(0o777)

    with pytest.raises(UsageError, match="is not a private folder"):
        make_state_dir(private(tmp_path))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """A folder that another user owns is refused."""
    private(tmp_path).parent.mkdir(mode=0o700)
    os.chown(private(tmp_path).parent, 65534, 65534)

    with pytest.raises(UsageError, match="is not a private folder"):
        make_state_dir(private(tmp_path))


def test_no_place_is_said(tmp_path: Path) -> None:
    """A file where the folder should be is an error with a cure."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no place for the lock") as caught:
        make_state_dir(tmp_path / "file" / FOLDER)

    assert caught.value.cure
