"""What does the file lock say, record and refuse?"""

from __future__ import annotations

import fcntl
import os
import shlex
from pathlib import Path

import pytest

from launcher.errors import LockNotObtained, UsageError
from launcher.locks import LockContext, Owner
from launcher.locks.file import FileLock, filesystem, mounts
from launcher.locks.file_ledger import FileLedger, save

OWNER = Owner(host="here", pid=1, release=None)


def file_lock(cwd: Path, where: str = "", namespace: str = "") -> FileLock:
    """Return a contender."""
    return FileLock(LockContext(where=where, cwd=cwd, owner=OWNER, namespace=namespace))


@pytest.fixture
def ledger(tmp_path: Path) -> FileLedger:
    """Return an empty ledger."""
    return FileLedger(tmp_path / "a.ledger.json", OWNER)


def test_the_descriptor_is_closed_on_exec(tmp_path: Path) -> None:
    """No program gets the lock by accident: only the step guard, on purpose."""
    held = file_lock(tmp_path).try_acquire()
    assert held is not None
    inherited = [os.get_inheritable(descriptor) for descriptor in held.descriptors()]
    held.release()

    assert [False] == inherited


def test_the_lock_file_is_never_unlinked(tmp_path: Path) -> None:
    """The file stays the same through three rounds: a waiter may hold it open."""
    lock, seen = file_lock(tmp_path), set()
    for _ in range(3):
        held = lock.try_acquire()
        assert held is not None
        held.release()
        seen.add(lock.path.stat().st_ino)

    assert 1 == len(seen)


@pytest.mark.parametrize(("removed", "takeover_s"), [(False, 0), (True, 8)], ids=["the same file", "another"])
def test_the_holder_of_a_removed_file_gets_time(tmp_path: Path, takeover_s: float, *, removed: bool) -> None:
    """Who finds a file other than the last holder's waits until that one's step is dead; else not a moment."""
    lock = file_lock(tmp_path)
    held = lock.try_acquire()
    assert held is not None
    held.say_step("seed")
    if removed:
        lock.path.unlink()
    else:
        fcntl.flock(held.descriptors()[0], fcntl.LOCK_UN)  # as the kernel does for a holder that died
    other = file_lock(tmp_path).try_acquire()
    assert other is not None

    assert takeover_s == other.takeover_s
    other.release()


def test_a_collected_lock_object_is_no_release(tmp_path: Path) -> None:
    """The lock is ours as long as what `try_acquire` gave us, not as long as what it was asked of."""
    held = file_lock(tmp_path).try_acquire()
    other = file_lock(tmp_path).try_acquire()

    assert held is not None
    assert other is None
    held.release()


@pytest.mark.parametrize("where", ["file/x.lock", "file/deep/er/x.lock", ".", "link.lock"])
def test_what_cannot_be_a_lock_file_is_refused(tmp_path: Path, where: str) -> None:
    """A file in place of a folder, a folder, a link: one error with a cure, no traceback and no other lock."""
    (tmp_path / "file").write_text("")
    (tmp_path / "link.lock").symlink_to(tmp_path / "target")
    with pytest.raises(UsageError) as caught:
        file_lock(tmp_path, where).try_acquire()

    assert "file:" in caught.value.cure
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(("one", "other"), [("app.v1", "app.v2"), ("a.lock", "a.db.lock"), ("x", "x.y")])
def test_two_locks_have_two_ledgers(tmp_path: Path, one: str, other: str) -> None:
    """Who holds one lock never writes the ledger of another, however the files are named."""
    assert file_lock(tmp_path, one).ledger.path != file_lock(tmp_path, other).ledger.path


def test_the_ledger_is_where_it_is_documented(tmp_path: Path) -> None:
    """`prestart.lock`, and with a namespace NAME.lock, has its ledger beside it."""
    folder = tmp_path / ".launcher"

    assert folder / "prestart.ledger.json" == file_lock(tmp_path).ledger.path
    assert folder / "shop.v2.ledger.json" == file_lock(tmp_path, namespace="shop.v2").ledger.path


def test_projects_with_one_lock_file_have_their_own_records(tmp_path: Path) -> None:
    """The namespace is part of the ledger's and the note's name with file:PATH too; the lock is one for all."""
    shop, blog, dotted = (file_lock(tmp_path, "a.lock", name) for name in ("shop", "blog", "b.ledger"))
    shop.ledger.finish(shop.ledger.begin("seed", "ever"), "done", exit_code=0, tail="")
    held = shop.try_acquire()
    assert held is not None
    held.say_step("seed")
    refused, holders = blog.try_acquire(), (shop.holder(), blog.holder())
    held.release()

    assert None is refused
    assert None is blog.ledger.read("seed", "ever")
    assert ("seed", None) == (holders[0] and holders[0].step, holders[1])
    assert "a.ledger@b%2Eledger.json" == dotted.ledger.path.name


def test_a_namespace_stays_in_the_folder(tmp_path: Path) -> None:
    """A namespace with a slash names a file, not a place."""
    assert {tmp_path / ".launcher"} == {file_lock(tmp_path, namespace=name).path.parent for name in ("a/b", "../x")}


def test_what_is_done_once_for_ever_is_never_forgotten(ledger: FileLedger) -> None:
    """Five hundred releases of one step do not push out the only record of another."""
    ledger.finish(ledger.begin("seed", "ever"), "done", exit_code=0, tail="")
    for number in range(500):
        ledger.begin("migrate", f"r{number}")
    record = ledger.read("seed", "ever")

    assert record is not None
    assert "done" == record.state
    assert len(ledger.records()) < 100


def test_tokens_grow_over_what_was_dropped(ledger: FileLedger) -> None:
    """The fencing token grows on when old records have been dropped."""
    tokens = [ledger.begin("migrate", f"r{number}").token for number in range(120)]

    assert [*range(1, 121)] == tokens


def test_a_ledger_of_the_first_version_is_read(ledger: FileLedger) -> None:
    """What was recorded before there was a grace has none."""
    record = ledger.begin("seed", "r1")
    text = ledger.path.read_text()
    ledger.path.write_text(text.replace(',"grace_s":0.0', ""))

    assert "grace_s" in text
    assert "grace_s" not in ledger.path.read_text()
    assert [record] == ledger.records()


def test_the_command_to_look_can_be_pasted(tmp_path: Path) -> None:
    """A path with a space and a quote is one word of the shell's."""
    lock = file_lock(tmp_path, "it's my.lock")

    assert ["fuser", "-v", str(lock.path)] == shlex.split(lock.look)


def test_no_ledger_has_no_mark(tmp_path: Path) -> None:
    """Where nothing was ever recorded nothing is known to have changed."""
    assert None is file_lock(tmp_path).mark()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"records": 1}', b'{"records": [{"step": "a"}]}', b"\xff\xfe", b'{"schema": 9}'],
)
def test_a_ledger_that_cannot_be_trusted_is_named(ledger: FileLedger, content: bytes) -> None:
    """What is no ledger of ours is never taken for an empty one, nor for a lock to try again: 2, file and cure."""
    ledger.path.write_bytes(content)
    with pytest.raises(UsageError, match=r"the ledger .*a\.ledger\.json cannot be read") as caught:
        ledger.read("seed", "r1")

    assert "if it is removed, every step counts as not done" in caught.value.cure


@pytest.mark.parametrize(("code", "how"), [(0, "with exit code 0"), (None, "without an exit code")])
def test_what_cannot_be_recorded_is_said_as_it_is(ledger: FileLedger, code: int | None, how: str) -> None:
    """A beginning that cannot be written was none; an end that cannot be written is a step that will run again."""
    record = ledger.begin("seed", "r1")
    (ledger.path.parent / f".{ledger.path.name}.{os.getpid()}").mkdir()
    with pytest.raises(LockNotObtained) as begun:
        ledger.begin("seed", "r2")
    with pytest.raises(LockNotObtained) as ended:
        ledger.finish(record, "done", exit_code=code, tail="")

    assert "step 'seed' was not begun" in begun.value.message
    assert "what cannot be recorded is not begun" in begun.value.cure
    assert f"step 'seed' ended {how}, but that could not be recorded, so it will run again" in ended.value.message
    assert "not begun" not in ended.value.message + ended.value.cure


def test_a_ledger_that_is_broken_meanwhile_does_not_hide_the_end(ledger: FileLedger) -> None:
    """A ledger that something else has overwritten while the step ran: the error says how the step ended."""
    record = ledger.begin("seed", "r1")
    ledger.path.write_bytes(b"{")

    with pytest.raises(UsageError, match=r"step 'seed' ended with exit code 0, but .*the ledger .* cannot be read"):
        ledger.finish(record, "done", exit_code=0, tail="")


def test_a_note_is_only_a_help(tmp_path: Path) -> None:
    """A note of the holder that cannot be read is no note: nothing depends on it."""
    lock = file_lock(tmp_path, "a.lock")
    (tmp_path / "a.holder.json").write_bytes(b"{")

    assert lock.holder() is None


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    """What is written beside a file does not follow a link that somebody left under its name."""
    (tmp_path / f".a.json.{os.getpid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="symbolic links"):
        save(tmp_path / "a.json", b"x")

    assert not (tmp_path / "theirs").exists()


MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:31 / /srv rw - autofs systemd-1 rw
23 22 0:32 / /srv rw - nfs4 server:/srv rw
24 21 0:33 / /with\\040space rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var", "ext4"), ("/srv", "nfs4"), ("/srv/app", "nfs4"), ("/srvx", "ext4"), ("/with space/a", "tmpfs")],
)
def test_the_file_system_is_told(tmp_path: Path, path: str, kind: str) -> None:
    """The last mount over the longest path counts: an automounted NFS is NFS."""
    (tmp_path / "mountinfo").write_text(MOUNTS)

    assert kind == filesystem(Path(path), tmp_path / "mountinfo")


def test_the_places_of_mounts_are_told(tmp_path: Path) -> None:
    """Every mount's place, spaces included; nothing where there is no such list."""
    (tmp_path / "mountinfo").write_text(MOUNTS)

    assert {Path("/"), Path("/srv"), Path("/with space")} == mounts(tmp_path / "mountinfo")
    assert set() == mounts(tmp_path / "none")
