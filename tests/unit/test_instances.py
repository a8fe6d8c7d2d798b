"""Are launchers found, told apart, and not mistaken for what somebody else has put there?"""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.errors import UsageError
from launcher.instances import Instance, NothingRuns, bind, connect, find, look, remove
from launcher.instances.asking import Reply, ask
from launcher.instances.runtime_places import Place, configured, make, places, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator

ME = os.geteuid()
PID = 4711
needs_root = pytest.mark.skipif(ME != 0, reason="only root can give a folder away")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")


class Sockets:
    """Binds as a launcher does; closes all."""

    def __init__(self, folder: Path) -> None:
        """Use `folder`."""
        self.folder, self.bound = folder, list[socket.socket]()

    def bind(self, pid: int = PID, folder: Path | None = None) -> str:
        """Return the address of a new one."""
        bound, address = bind({}, str(folder or self.folder), pid)
        self.bound.append(bound)
        return address

    def close(self) -> None:
        """Leave the files behind, as what was killed does."""
        while self.bound:
            self.bound.pop().close()


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    """Return a runtime directory that is not there yet."""
    made = Sockets(tmp_path / "run" / "launcher")
    yield made
    made.close()


def mode(path: str | Path) -> int:
    """Return the permissions."""
    return stat.S_IMODE(Path(path).lstat().st_mode)


def test_it_is_private(sockets: Sockets) -> None:
    """The folder is made with mode 0700 and the socket with 0600, whatever the umask."""
    before = os.umask(0)
    try:
        address = sockets.bind()
    finally:
        os.umask(before)

    assert str(sockets.folder / f"{PID}.sock") == address
    assert (0o700, 0o600) == (mode(sockets.folder), mode(address))


def test_it_is_found(sockets: Sockets) -> None:
    """The only one is found: in its folder, by its pid, by its socket, and its pid is the listener's own."""
    address = sockets.bind(os.getpid())
    here = str(sockets.folder)
    expected = Instance(os.getpid(), address)

    assert expected == find({}, here)
    assert expected == find({}, here, pid=os.getpid())
    assert expected == find({}, address=address)
    assert expected == find({"LAUNCHER_RUNTIME_DIR": here})


def test_nothing_runs(tmp_path: Path) -> None:
    """Where nothing is, or another pid, or no socket, it is said with exit code 1 and a way to look elsewhere."""
    with pytest.raises(NothingRuns, match="no launcher runs") as nowhere:
        find({}, str(tmp_path / "nowhere"))
    with pytest.raises(NothingRuns, match="no launcher with pid 1"):
        find({}, str(tmp_path), pid=1)
    with pytest.raises(NothingRuns, match="nobody answers at"):
        find({}, address=str(tmp_path / "no.sock"))

    assert nowhere.value.exit_code == 1


def test_what_was_left_behind_is_removed(sockets: Sockets) -> None:
    """A socket that nobody listens to is removed by whoever looks; files that are none of ours stay."""
    stale = sockets.bind(PID)
    sockets.close()
    other = sockets.folder / "notes.txt"
    other.touch()
    alive = sockets.bind(PID + 1)
    found, _ = look({}, str(sockets.folder))

    assert [alive] == [one.address for one in found]
    assert not Path(stale).exists()
    assert other.exists()


def test_its_place_is_taken_again(sockets: Sockets) -> None:
    """A new launcher with the pid of one that was killed gets its name; beside a living one it gets another."""
    stale = sockets.bind()
    sockets.close()
    first, second = sockets.bind(), sockets.bind()

    assert stale == first
    assert str(sockets.folder / f"{PID}-2.sock") == second
    assert {first, second} == {one.address for one in look({}, str(sockets.folder))[0]}


def test_remove(sockets: Sockets) -> None:
    """The file of a socket goes when its owner says so, once or twice; an abstract one has none."""
    address = sockets.bind()
    remove(address)
    remove(address)
    remove("@launcher-0-1")

    assert list(sockets.folder.iterdir()) == []


def test_a_long_path(sockets: Sockets) -> None:
    """A folder whose name is longer than a socket's address can be is no hindrance."""
    folder = sockets.folder / ("x" * 120)
    address = sockets.bind(folder=folder)

    assert address == find({}, str(folder)).address
    connect(address).close()


def test_links_are_refused(sockets: Sockets, tmp_path: Path) -> None:
    """A runtime directory that is a link is used by nobody, and the text says so."""
    sockets.bind()
    link = tmp_path / "link"
    link.symlink_to(sockets.folder)

    with pytest.raises(UsageError, match="is a symbolic link"):
        find({}, str(link))
    with pytest.raises(UsageError, match="is a symbolic link"):
        bind({}, str(link), PID)


@needs_root
def test_foreign_folders_are_refused(sockets: Sockets) -> None:
    """A runtime directory of another user is used by nobody, and the text says whose it is."""
    sockets.bind()
    os.chown(sockets.folder, 12345, -1)

    with pytest.raises(UsageError, match="belongs to uid 12345, not to uid 0"):
        find({}, str(sockets.folder))
    with pytest.raises(UsageError, match="belongs to uid 12345"):
        bind({}, str(sockets.folder), PID)


@on_linux
@pytest.mark.parametrize("trap", ["link", "file", "open to all"])
def test_a_trap_in_a_shared_directory(tmp_path: Path, trap: str) -> None:
    """What somebody else has prepared in a directory that all can write is passed by, not used, and told."""
    place = Place(tmp_path / f"launcher-{ME}", ME, private=True)
    if trap == "link":
        (tmp_path / "elsewhere").mkdir()
        place.path.symlink_to(tmp_path / "elsewhere")
    elif trap == "file":
        place.path.touch()
    else:
        place.path.mkdir()
        place.path.chmod(0o777)
    bound, address = bind({}, None, PID, usual=[place])
    bound.close()
    _, refused = look({}, usual=[place])

    assert address.startswith(f"@launcher-{ME}-{PID}")
    assert why_not(place) == make(place) != ""
    assert [f"{why_not(place)}, so it was not looked at"] == refused


@on_linux
def test_without_a_place(tmp_path: Path) -> None:
    """Where nothing can be written there is an abstract socket; who listens is found by it, and not when it is gone."""
    usual = [Place(tmp_path / "file" / "launcher", ME)]
    (tmp_path / "file").touch()
    bound, address = bind({}, None, os.getpid(), usual=usual)
    again, second = bind({}, None, os.getpid(), usual=usual)
    with bound, again:
        found = {one.address for one in look({}, usual=usual)[0]}
    after = {one.address for one in look({}, usual=usual)[0]}

    assert f"@launcher-{ME}-{os.getpid()}" == address
    assert {address, second} <= found
    assert not {address, second} & after


def test_the_usual_places() -> None:
    """$XDG_RUNTIME_DIR if it is absolute, /run, then private folders in the temporary directories; none is repeated."""
    temporary = ("/t",)
    usual = [
        Place(Path("/run/user/7/launcher"), 7),
        Place(Path("/run/launcher"), 7),
        Place(Path("/t/launcher-7"), 7, private=True),
    ]

    assert usual == places({}, 7, temporary=temporary)
    assert usual == places({"XDG_RUNTIME_DIR": "/run/user/7"}, 7, temporary=temporary)
    assert usual == places({"XDG_RUNTIME_DIR": "relative"}, 7, temporary=temporary)
    assert [Place(Path("/x/launcher"), 7), *usual] == places({"XDG_RUNTIME_DIR": "/x"}, 7, temporary=temporary)


@needs_root
def test_the_session_of_another_user(tmp_path: Path) -> None:
    """Nothing is made in the XDG_RUNTIME_DIR that `sudo -E` leaves of another user."""
    os.chown(tmp_path, 12345, -1)
    make(Place(tmp_path / "launcher", ME))

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("files", "environ", "expected"),
    [
        ({}, {}, None),
        ({"launcher.toml": 'runtime_dir = "/a"'}, {}, "/a"),
        ({"pyproject.toml": '[tool.launcher]\nruntime_dir = "/b"'}, {}, "/b"),
        ({"pyproject.toml": 'runtime_dir = "/not ours"'}, {}, None),
        ({"launcher.toml": 'runtime_dir = "/a"'}, {"LAUNCHER_RUNTIME_DIR": "/c"}, "/c"),
        ({"launcher.toml": 'runtime_dir = "/a"', "o.toml": 'runtime_dir = "/d"'}, {"LAUNCHER_CONFIG": "o.toml"}, "/d"),
        ({"launcher.toml": "runtime_dir = broken"}, {}, None),
        ({"etc/launcher.toml": 'runtime_dir = "/e"'}, {}, "/e"),
    ],
)
def test_what_the_settings_say(
    tmp_path: Path, files: dict[str, str], environ: dict[str, str], expected: str | None
) -> None:
    """The folder of the environment, of the project or of the fleet is where to look, as `run` understands them."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert expected == configured(environ, tmp_path, tmp_path)


def asked(said: bytes) -> Reply:
    """Return what `ask` makes of an answer."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        return ask(ours, "/readyz", wait_s=5)


def test_an_answer_is_understood() -> None:
    """The code and the body, of the length that was told or up to the end."""
    assert Reply(503, b"no\n") == asked(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 3\r\n\r\nno\n")
    assert Reply(200, b"all of it") == asked(b"HTTP/1.1 200 OK\r\n\r\nall of it")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ncontent-length: nine\r\n\r\nshort",
    ],
)
def test_what_is_no_answer(said: bytes) -> None:
    """Anything else is an error of the connection."""
    with pytest.raises(ConnectionError):
        asked(said)


def test_who_says_nothing() -> None:
    """Waiting ends, for one who does not read either."""
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(TimeoutError):
        ask(ours, "/readyz", wait_s=0.05)
