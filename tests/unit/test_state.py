"""Is the shared place the same for every start, and nobody else's?"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
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


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Return a host with a project and a temporary directory."""
    (tmp_path / "app").mkdir()
    (tmp_path / "tmp").mkdir()
    return tmp_path


def private(host: Path, uid: int | None = None) -> Path:
    """Return a place as a project gets it that its user cannot write."""
    project = hashlib.sha256(os.fsencode((host / "app").resolve())).hexdigest()[:16]
    return host / "tmp" / f"launcher-{project}-{os.getuid() if uid is None else uid}"


def make(host: Path, place: Path) -> Path:
    """Make a place of the project on this host."""
    return make_state_dir(place, host / "app", (str(host / "tmp"),))


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


def test_an_ignore_file_that_a_full_disk_left_empty_is_repaired(tmp_path: Path) -> None:
    """The next start writes what did not fit."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / ".gitignore").touch()
    make_state_dir(state_dir(tmp_path))

    assert "*\n" == (tmp_path / FOLDER / ".gitignore").read_text()


def test_the_temporary_one_is_private(host: Path, umask: int) -> None:
    """Whatever the umask is, the folder is the user's alone, and a second start accepts it."""
    make(host, private(host))
    path = make(host, private(host))

    assert 0o700 == stat.S_IMODE(path.stat().st_mode), oct(umask)


def test_a_planted_link_is_refused(host: Path) -> None:
    """A link in the shared folder, as another user may have put there, is not followed: nothing is made behind it."""
    (host / "theirs").mkdir()
    private(host).symlink_to(host / "theirs")
    with pytest.raises(UsageError, match="is not a private folder") as caught:
        make(host, private(host))

    assert [] == list((host / "theirs").iterdir())
    assert "--lock file:PATH" in caught.value.cure


def test_a_folder_open_to_others_is_refused(host: Path) -> None:
    """A folder that others may write to is refused."""
    private(host).mkdir()
    private(host).chmod(0o777)

    with pytest.raises(UsageError, match="is not a private folder"):
        make(host, private(host))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_somebody_else_is_refused(host: Path) -> None:
    """A folder that another user owns is refused."""
    private(host).mkdir(mode=0o700)
    os.chown(private(host), 65534, 65534)

    with pytest.raises(UsageError, match="is not a private folder"):
        make(host, private(host))


@pytest.mark.parametrize(
    ("there", "asked"), [("other", "ours"), ("project", "ours"), ("ours", "project"), ("other", "project")]
)
def test_a_second_place_is_refused(host: Path, there: str, asked: str) -> None:
    """Two places are two locks: who comes second is told of the first and how to share one, and leaves nothing."""
    places = {"project": host / "app" / FOLDER, "ours": private(host), "other": private(host, 4321)}
    places[there].mkdir(mode=0o700)
    with pytest.raises(UsageError, match="would be a second lock of this project") as caught:
        make(host, places[asked])

    assert str(places[there]) in caught.value.message
    assert [word for word in ("--lock file:PATH", f"remove {places[there]}") if word not in caught.value.cure] == []
    assert not places[asked].exists()


def test_a_place_that_was_there_is_not_removed(host: Path) -> None:
    """Two places that are both there: both starts are refused, and neither loses its ledger."""
    private(host, 4321).mkdir(mode=0o700)
    private(host).mkdir(mode=0o700)
    with pytest.raises(UsageError, match="would be a second lock"):
        make(host, private(host))

    assert private(host).is_dir()


def test_another_projects_place_is_no_second_one(host: Path) -> None:
    """Places of other projects, of this user or of others, are nobody's business; nor is a file of a like name."""
    (host / "tmp" / "launcher-0123456789abcdef-4321").mkdir()
    (host / "tmp" / f"{private(host).name}.old").mkdir()

    assert make(host, private(host)).is_dir()


def test_one_folder_under_two_names_is_one_place(host: Path) -> None:
    """One temporary directory may be a link to another, as /var/tmp is in some images."""
    (host / "var").symlink_to(host / "tmp")
    both = (str(host / "var"), str(host / "tmp"))

    assert make_state_dir(host / "var" / private(host).name, host / "app", both).is_dir()


def as_user(uid: int, host: Path, ready: int, report: int) -> None:
    """In a child: be that user, wait for the others, ask for a place and make it; report it, or the error."""
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    os.read(ready, 1)
    try:
        temporary = (str(host / "tmp"),)
        said = f"made {make_state_dir(state_dir(host / 'app', temporary), host / 'app', temporary)}"
    except UsageError as error:
        said = f"refused {error.message}"
    except Exception as error:  # noqa: BLE001 - a child that says nothing is a test that cannot say why
        said = f"fault {error!r}"
    os.write(report, f"{said}\n".encode())


def ask_as(host: Path, *uids: int) -> list[str]:
    """Return what processes of these users are told that ask at the same time."""
    (ready, go), (read, report) = os.pipe(), os.pipe()
    children = []
    for uid in uids:
        if not (pid := os.fork()):
            try:
                as_user(uid, host, ready, report)
            finally:
                os._exit(0)
        children.append(pid)
    os.write(go, b"x" * len(uids))
    os.close(report)
    for pid in children:
        os.waitpid(pid, 0)
    with os.fdopen(read) as said:
        lines = said.read().splitlines()
    for descriptor in (ready, go):
        os.close(descriptor)
    return lines


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a host that every user may enter; its project is root's."""
    with tempfile.TemporaryDirectory() as name:
        host = Path(name)
        host.chmod(0o755)
        (host / "app").mkdir(mode=0o755)
        (host / "tmp").mkdir()
        (host / "tmp").chmod(0o1777)
        yield host


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become other users")
class TestUsers:
    """Several users start one project."""

    def test_one_user_alone(self, shared: Path) -> None:
        """A project of root's and one other user, as in most containers: that user's place, at each start the same."""
        first, second = ask_as(shared, 4321), ask_as(shared, 4321)

        assert [f"made {private(shared, 4321)}"] == first == second

    def test_one_after_the_other(self, shared: Path) -> None:
        """The first has a place; another user and root, who would have their own, are refused and leave nothing."""
        first, others = ask_as(shared, 4321), [ask_as(shared, uid)[0] for uid in (4322, 0)]

        assert [f"made {private(shared, 4321)}"] == first
        assert [True, True] == [said.startswith("refused") and str(private(shared, 4321)) in said for said in others]
        assert [f"made {private(shared, 4321)}"] == ask_as(shared, 4321)

    def test_after_root(self, shared: Path) -> None:
        """Once root has made the project's own folder, nobody else gets another."""
        ask_as(shared, 0)
        (said,) = ask_as(shared, 4321)

        assert said.startswith(f"refused {shared / 'app' / FOLDER} cannot be written by uid 4321")

    def test_at_the_same_time(self, shared: Path) -> None:
        """Of three users that ask at once at most one gets a place, each time."""
        for _ in range(40):
            said = ask_as(shared, 4321, 4322, 0)
            for place in [*(shared / "tmp").iterdir(), *(shared / "app").iterdir()]:
                shutil.rmtree(place)

            assert 3 == len(said)
            assert [] == [line for line in said if line.startswith("fault")]
            assert sum(line.startswith("made") for line in said) <= 1, said


def test_no_place_is_said(tmp_path: Path) -> None:
    """A file where the folder should be is an error with a cure."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no place for the lock") as caught:
        make_state_dir(tmp_path / "file" / FOLDER)

    assert caught.value.cure
