"""Is every release told from every other?"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from launcher.boot.release import content_key, ignored_releases, release_id, source_hash
from launcher.errors import UsageError
from launcher.origin import Origin, OriginKind, Sourced
from launcher.own_source import hash_files

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject

OPTION = Origin(OriginKind.COMMAND_LINE, "--release")
DIGEST = "sha256:" + "a" * 64
APPLICATION = {
    "main.py": "x = 1",
    "app/db.py": "",
    "migrations/versions/1.py": "",
    "pyproject.toml": "",
    "uv.lock": "1",
}


def test_what_was_given_wins(tmp_path: Path) -> None:
    """Over every platform's variable, with its own origin."""
    found = release_id(Sourced(" v7 ", OPTION), tmp_path, {"HEROKU_BUILD_COMMIT": "abc"})

    assert Sourced("v7", OPTION) == found


@pytest.mark.parametrize(
    "value",
    [
        *("", "  ", "latest", "HEAD", "main", "Master", "dev", "stable", "unknown", "none", "null", "app:latest"),
        *("$GIT_SHA", "${GIT_SHA}", "{{ .Chart.AppVersion }}", "$(git rev-parse HEAD)", "<no value>"),
    ],
)
def test_a_given_id_that_moves_is_refused(tmp_path: Path, value: str) -> None:
    """All releases would share one record: the message says where it was given, and the cure."""
    with pytest.raises(UsageError, match="--release") as caught:
        release_id(Sourced(value, OPTION), tmp_path, {})
    assert caught.value.cure


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"HEROKU_SLUG_COMMIT": "old", "HEROKU_BUILD_COMMIT": "new"}, ("new", "HEROKU_BUILD_COMMIT")),
        ({"HEROKU_BUILD_COMMIT": "", "HEROKU_SLUG_COMMIT": "b"}, ("b", "HEROKU_SLUG_COMMIT")),
        ({"RENDER_GIT_COMMIT": "c", "K_REVISION": "d"}, ("c", "RENDER_GIT_COMMIT")),
        ({"RAILWAY_GIT_COMMIT_SHA": "HEAD", "RAILWAY_DEPLOYMENT_ID": "e"}, ("e", "RAILWAY_DEPLOYMENT_ID")),
        ({"FLY_IMAGE_REF": "registry.fly.io/a:deployment-01J"}, ("registry.fly.io/a:deployment-01J", "FLY_IMAGE_REF")),
        ({"FLY_IMAGE_REF": "registry.fly.io/a:latest", "K_REVISION": "a-00001"}, ("a-00001", "K_REVISION")),
        ({"CONTAINER_IMAGE": f"a@{DIGEST}"}, (f"a@{DIGEST}", "CONTAINER_IMAGE")),
    ],
)
def test_platforms_say_it_in_their_own_words(
    tmp_path: Path, environ: dict[str, str], expected: tuple[str, str]
) -> None:
    """In the order of trust; what is empty or can be moved is passed over."""
    found = release_id(None, tmp_path, environ)

    assert expected == (found.value, found.origin.where)


def test_what_is_passed_over_is_said() -> None:
    """With the variable's name and the reason."""
    ignored = ignored_releases({"HEROKU_BUILD_COMMIT": "", "K_REVISION": "ok", "CONTAINER_IMAGE": "a:v1"})

    assert ["HEROKU_BUILD_COMMIT", "CONTAINER_IMAGE"] == [one.name for one in ignored]
    assert "digest" in ignored[1].because


@pytest.mark.parametrize(
    "change",
    [
        {"main.py": "x = 2"},
        {"new.py": ""},
        {"uv.lock": "2"},
        {"q.sql": ""},
        {"start.sh": ""},
        {"requirements-prod.txt": ""},
    ],
)
def test_the_applications_own_source_is_the_last_resort(project: MakeProject, change: dict[str, str]) -> None:
    """The same files are the same release wherever they are; one byte more is another."""
    first, other = project(APPLICATION, "first"), project(APPLICATION, "other")
    changed = project(APPLICATION | change, "changed")

    assert release_id(None, first, {}).value == release_id(None, other, {}).value
    assert source_hash(first) != source_hash(changed)


@pytest.mark.parametrize(
    "noise",
    [
        *("data.csv", "app.db", ".git/x.py", ".venv/x.py", "env/lib/x.py", "node_modules/x.py", "__pycache__/x.py"),
        *(".launcher/x.py", "app/site-packages/x.py", ".hidden.py"),
    ],
)
def test_what_is_not_the_applications_own_does_not_count(project: MakeProject, noise: str) -> None:
    """Environments, caches, data and what tools keep."""
    folder = project(APPLICATION | {"env/pyvenv.cfg": ""})
    before = source_hash(folder)
    project({noise: "x"})

    assert before == source_hash(folder)


def test_a_linked_file_counts_and_a_linked_folder_does_not(project: MakeProject) -> None:
    """Kubernetes mounts files as links; a link to a folder may be a circle."""
    folder = project(APPLICATION)
    before = source_hash(folder)
    (folder / "circle").symlink_to(folder)
    (folder / "dangling.py").symlink_to(folder / "nowhere.py")
    with_links = source_hash(folder)
    (folder / "linked.py").symlink_to(folder / "main.py")

    assert len({before, with_links, source_hash(folder)}) == 3


def test_a_pipe_in_the_project_is_passed_over(project: MakeProject) -> None:
    """Reading it would wait for ever."""
    folder = project(APPLICATION)
    before = source_hash(folder)
    os.mkfifo(folder / "x.lock")

    assert before == source_hash(folder)
    assert hash_files([("x.lock", folder / "x.lock")]) == hash_files([("x.lock", folder / "app")])


def test_ids_are_those_of_earlier_versions(project: MakeProject) -> None:
    """Names and contents with their lengths, also of a file that is read in several chunks."""
    content = "x" * (3 * 1024 * 1024 + 1)
    framed = b"".join(b"%d:%b" % (len(part), part) for part in (b"", b"dump.sql", content.encode()))

    assert hashlib.sha256(framed).hexdigest() == source_hash(project({"dump.sql": content}))


def test_content_goes_by_the_files_and_the_command(project: MakeProject) -> None:
    """Other contents, other names, another command: another key."""
    folder = project({"seeds/a.json": "1", "seeds/deep/b.json": "2", "other": ""})
    keys = [content_key(["seeds/**"], folder, "load")]
    keys.append(content_key(["seeds/**"], folder, "load again"))
    keys.append(content_key(["seeds/*.json"], folder, "load"))
    project({"seeds/deep/b.json": "3"})
    keys.append(content_key(["seeds/**"], folder, "load"))

    assert len(set(keys)) == len(keys)
    assert keys[-1] == content_key(["seeds/**/*", "seeds/a.json"], folder, "load")


@pytest.mark.parametrize("patterns", [[], ["seeds/*"], ["main.py", "sedes/*"], ["/etc/passwd"], [""]])
def test_content_of_nothing_is_refused(project: MakeProject, patterns: list[str]) -> None:
    """A misspelt glob must not look unchanged for ever."""
    with pytest.raises(UsageError):
        content_key(patterns, project({"main.py": ""}), "load")
