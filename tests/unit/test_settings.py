"""Do options arrive from every place, in the order of DESIGN §6, with their origin?"""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from launcher.errors import UsageError
from launcher.origin import DEFAULT, OriginKind, Sourced
from launcher.settings.load import load
from launcher.settings.option import Kind, Option
from launcher.settings.options import ALIASES, BY_NAME, TABLE
from launcher.settings.topics import Settings
from launcher.settings.values import shown, typed
from support.asked import asked, reasons

# For each kind, texts and what they mean: (as written on a command line or in a variable, as shown).
EXAMPLES: dict[Kind, list[tuple[str, object]]] = {
    Kind.TEXT: [("some-text", "some-text")],
    Kind.TEXTS: [("one:1", ["one:1"]), ("one:1,two:2", ["one:1", "two:2"])],
    Kind.PATH: [("some/path", "some/path")],
    Kind.BOOLEAN: [("true", True), ("0", False), ("yes", True), ("Off", False)],
    Kind.FILE_OR_BOOLEAN: [("-", True), ("no", False), ("log/access.log", "log/access.log")],
    Kind.COUNT: [("7", 7)],
    Kind.PORT: [("0", 0), ("65535", 65535)],
    Kind.NUMBER: [("1.5", 1.5)],
    Kind.WORKERS: [("3", 3), ("AUTO", "auto")],
    Kind.DURATION: [("90", "1.5m"), ("5m", "5m"), ("7500ms", "7.5s")],
    Kind.SHARE: [("2", "2"), ("50%", "50%")],
    Kind.TABLE: [("records", "records"), ("ops.Records_2", "ops.Records_2")],
    Kind.SIZE: [("512M", "512 MiB"), ("1.5GiB", "1.5 GiB")],
    Kind.MEMORY: [("80%", "80%"), ("1G", "1 GiB")],
}
SPECIAL = {"config", "env_file", "worker_class"}  # a file or a mapping stands behind them: tested on their own
PLACES = ["command line", "variable", "file", "fleet"]


def examples(option: Option) -> list[tuple[str, object]]:
    """Return the examples of an option's kind, or its words."""
    return [(word, word) for word in option.words] or EXAMPLES[option.kind]


def say(folder: Path, said: dict[str, tuple[Option, str]]) -> Settings:
    """Say one option in each of the named places."""
    given, environ, files = {}, {}, {}
    for place, (option, text) in said.items():
        if place == "command line":
            given[option.name] = text
        elif place == "variable":
            environ[option.variable] = text
        else:
            files["launcher.toml" if place == "file" else "root/etc/launcher.toml"] = f'{option.name} = "{text}"\n'
    return asked(folder, given, environ, files)


def error_of(option: Option, said: Sourced[object]) -> UsageError | None:
    """Return the error of a value, or None when it is one."""
    try:
        typed(option, said)
    except UsageError as error:
        return error
    return None


@pytest.mark.parametrize("option", [o for o in TABLE if o.name not in SPECIAL], ids=lambda option: option.name)
@pytest.mark.parametrize("place", PLACES)
def test_one_spelling(tmp_path: Path, option: Option, place: str) -> None:
    """An option said in one place only arrives, with that place as its origin; nothing else changes."""
    where = {
        "command line": option.flag,
        "variable": option.variable,
        "file": f"{option.name} in launcher.toml",
        "fleet": f"{option.name} in {tmp_path / 'root/etc/launcher.toml'}",
    }
    for text, expected in examples(option):
        origin = say(tmp_path, {place: (option, text)}).origins[option.name]

        assert expected == origin.value
        assert where[place] == origin.origin.where


@pytest.mark.parametrize(("strong", "weak"), list(combinations(PLACES, 2)))
def test_precedence(tmp_path: Path, strong: str, weak: str) -> None:
    """Of two places the stronger one wins, and the weaker one is said to be ignored."""
    option = BY_NAME["root_path"]
    settings = say(tmp_path, {strong: (option, "/strong"), weak: (option, "/weak")})

    assert settings.http.root_path == "/strong"
    assert [f"{settings.origins['root_path'].origin} wins"] == [one.because for one in settings.ignored]


@pytest.mark.parametrize("place", PLACES)
def test_every_place_beats_conventions(tmp_path: Path, place: str) -> None:
    """What is written for the launcher is stronger than a platform's variable."""
    said = {"command line": {"keep_alive": "9"}}.get(place)
    environ = {"KEEP_ALIVE": "5"} | ({"LAUNCHER_KEEP_ALIVE": "9"} if place == "variable" else {})
    names = {"file": "launcher.toml", "fleet": "root/etc/launcher.toml"}
    files = {names[place]: "keep_alive = 9"} if place in names else {}
    settings = asked(tmp_path, said, environ, files)

    assert settings.http.keep_alive == 9
    assert "KEEP_ALIVE" in reasons(settings)


def test_defaults(tmp_path: Path) -> None:
    """With nothing said every option has an entry, and every origin is the default."""
    settings = asked(tmp_path)

    assert {option.name for option in TABLE} == set(settings.origins)
    assert {DEFAULT} == {said.origin for said in settings.origins.values()}
    assert (Sourced("0.0.0.0:8000", DEFAULT),) == settings.bind.bind
    assert ("asgi_launcher_ledger", "wait") == (settings.prestart.ledger_table, settings.prestart.orphans)
    assert (900.0, 30.0, "run", "refuse", Sourced("auto", DEFAULT)) == (
        settings.prestart.lock_timeout,
        settings.prestart.lock_expiry,
        settings.prestart.mode,
        settings.prestart.on_unknown_revision,
        settings.prestart.lock,
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("workers = 3", 3), ('workers = "3"', 3), ('workers = "auto"', None)],
)
def test_workers_in_a_file(tmp_path: Path, text: str, expected: int | None) -> None:
    """A count may be a number or a text; `auto` is nobody's number."""
    workers = asked(tmp_path, files={"launcher.toml": text}).pool.workers

    assert expected == (workers and workers.value)


def test_auto_beats_a_weaker_number(tmp_path: Path) -> None:
    """`--workers auto` sets WEB_CONCURRENCY aside."""
    settings = asked(tmp_path, {"workers": "auto"}, {"WEB_CONCURRENCY": "4"})

    assert settings.pool.workers is None
    assert {"WEB_CONCURRENCY": "--workers wins"} == reasons(settings)


@pytest.mark.parametrize("key", ALIASES)
def test_other_words(tmp_path: Path, key: str) -> None:
    """A neighbour's flag means our option, and the origin is the flag that was typed."""
    option, alias = ALIASES[key]
    text = alias.value or str(examples(option)[0][0])
    said = asked(tmp_path, {key: text}).origins[option.name]

    assert alias.flags[0] == said.origin.where
    assert shown(option, typed(option, Sourced(text, said.origin))) == said.value


@generated(st.sampled_from(TABLE), st.text(max_size=12))
def test_any_text_is_a_value_or_an_error_with_its_place(option: Option, text: str) -> None:
    """No text in a setting is a bug of ours: it is a value, or an error that names its place and a cure."""
    said: Sourced[object] = Sourced(text, DEFAULT)
    error = error_of(option, said)

    assert error is None or (error.message.startswith("default: ") and error.cure)


def test_a_lock_keeps_its_password_and_shows_none(tmp_path: Path) -> None:
    """The lock's URL is whole where it is used and masked where it is shown."""
    url = "postgresql://user:secret@db/app"
    settings = asked(tmp_path, {"lock": url})

    assert url == settings.prestart.lock.value
    assert "secret" not in str(settings.origins)


def test_app_named_by_the_flag_of_fastapi(tmp_path: Path) -> None:
    """`--app NAME` is the variable as with fastapi, and APP where its value can only be one."""
    assert asked(tmp_path, {"variable": "api"}).app.variable == Sourced(
        "api", asked(tmp_path, {"variable": "api"}).origins["variable"].origin
    )
    for value in ("main:app", "app/main.py", "main.py"):
        app = asked(tmp_path, {"variable": value}).app

        assert app.variable is None
        assert app.app is not None
        assert (value, "--app", OriginKind.COMMAND_LINE) == (
            app.app.value,
            app.app.origin.where,
            app.app.origin.kind,
        )


def test_server_arguments_are_untouched(tmp_path: Path) -> None:
    """What stands after `--` is kept as it is."""
    settings = load({}, server_args=["--threads", "2"], cwd=tmp_path, environ={}, root=tmp_path)

    assert settings.pool.server_args == ("--threads", "2")


def test_reading_stays_light() -> None:
    """Reading settings without files to execute imports nothing heavy."""
    heavy = {"asyncio", "logging", "subprocess", "gunicorn", "uvicorn", "click", "importlib.metadata", "msgspec"}
    code = (
        "import sys; from pathlib import Path; from launcher.settings.load import load; "
        "load({'port': '1'}, cwd=Path(sys.executable).parent, environ={'PORT': '2'}, root=Path(sys.executable)); "
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"
