"""Does the command line hand over what was typed, and name what it does not know?"""

from __future__ import annotations

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from launcher.cli.options import LauncherCommand, launcher_options
from launcher.settings.options import ALIASES, TABLE

Typed = dict[str, object]


@click.command("run", cls=LauncherCommand)
@launcher_options()
@click.pass_context
def run(ctx: click.Context, /, server_args: tuple[str, ...], **given: object) -> None:
    """Stand for a command."""
    ctx.obj.update(given, server_args=server_args)


@click.command("plugins", cls=LauncherCommand)
@launcher_options("plugins")
@click.pass_context
def plugins(ctx: click.Context, /, **given: object) -> None:
    """Stand for a command with some options only."""
    ctx.obj.update(given)


def typed(*args: str, command: click.Command = run) -> Typed:
    """Return what the command was called with."""
    told: Typed = {}
    result = CliRunner().invoke(command, args, obj=told, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return told


def refused(*args: str) -> str:
    """Return the message of a refused command line."""
    result = CliRunner().invoke(run, args, obj={}, catch_exceptions=False)
    assert result.exit_code == 2
    return result.output


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ((), {}),
        (("main:app", "--port", "80"), {"app": "main:app", "port": "80"}),
        (("--port", "80", "main:app"), {"app": "main:app", "port": "80"}),
        (("--port=80", "-w", "2", "-k", "asgi"), {"port": "80", "workers": "2", "worker_class": "asgi"}),
        (("-b", "a:1", "--bind", "b:2"), {"bind": ("a:1", "b:2")}),
        (("--no-access-log", "--preload"), {"access_log": False, "preload": True}),
        (("--reload", "--no-reload"), {"reload": False}),
        (("--timeout-keep-alive", "3", "--certfile", "c"), {"timeout_keep_alive": "3", "certfile": "c"}),
        (("-t", "1", "-c", "x.toml"), {"worker_timeout": "1", "config": "x.toml"}),
        (("--no-monitor",), {"no_monitor": True}),
    ],
)
def test_given(args: tuple[str, ...], expected: Typed) -> None:
    """Only what was typed arrives, before or after APP, under the names of the options."""
    assert {**expected, "server_args": ()} == typed(*args)


def test_fastapi_run() -> None:
    """Every option of `fastapi run` is taken."""
    told = typed(
        *("main.py", "--host", "h", "--port", "1", "--no-reload", "--workers", "2", "--root-path", "/p"),
        *("--app", "api", "--no-proxy-headers", "--forwarded-allow-ips", "*", "--verbose"),
    )

    assert {
        "app": "main.py",
        "host": "h",
        "port": "1",
        "reload": False,
        "workers": "2",
        "root_path": "/p",
        "variable": "api",
        "proxy_headers": False,
        "forwarded_allow_ips": "*",
        "verbose": True,
        "server_args": (),
    } == told
    assert {"entrypoint": "m:a", "server_args": ()} == typed("-e", "m:a")


def test_every_flag_of_the_installed_fastapi_is_taken() -> None:
    """No flag of the installed `fastapi run` is unknown here."""
    import typer.main
    from fastapi_cli.cli import app

    fastapi = typer.main.get_command(app)
    theirs = fastapi.commands["run"].params  # type: ignore[attr-defined]  # a group, which typer does not say
    flags = {flag for param in theirs for flag in (*param.opts, *param.secondary_opts) if flag.startswith("-")}
    ours = {flag for param in run.params for flag in (*param.opts, *param.secondary_opts)} | {"-h", "--help"}

    assert flags
    assert flags <= ours


def test_after_the_dashes() -> None:
    """What follows `--` is the server's, whatever it looks like."""
    told = typed("main:app", "--port", "1", "--", "--threads", "4", "--", "x:y")

    assert ("main:app", "1", ("--threads", "4", "--", "x:y")) == (told["app"], told["port"], told["server_args"])


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--workerz", ["No such option: --workerz", "Did you mean --workers?"]),
        ("--threads", ["After `--` it goes to gunicorn", "-- --threads"]),
        ("--ws-max-size", ["After `--` it goes to uvicorn"]),
        ("--backlog", ["gunicorn or uvicorn"]),
        ("--qqqqq", ["No such option: --qqqqq."]),
        ("--port", ["--port", "requires an argument"]),
    ],
)
def test_unknown(flag: str, words: list[str]) -> None:
    """An unknown option ends with 2, the nearest name, or the server that knows it."""
    output = " ".join(refused("main:app", flag).split())

    assert [word for word in words if word not in output] == []


def test_some_options_only() -> None:
    """A command may take a few options; it has no APP then."""
    assert {"plugins": ("a", "b")} == typed("--plugins", "a", "--plugins", "b", command=plugins)


def test_help_has_sections() -> None:
    """The help text lists every option, in sections."""
    output = CliRunner().invoke(run, ["-h"], terminal_width=200).output
    visible = [option for option in TABLE if option.flag.startswith("--")]

    assert [option.flag for option in visible if option.flag not in output] == []
    assert "Steps before the server:" in output
    assert "--timeout-keep-alive" not in output


def test_every_flag_is_one_option() -> None:
    """No flag is taken twice."""
    flags = [flag for param in run.params for flag in (*param.opts, *param.secondary_opts)]

    assert sorted(set(flags)) == sorted(flags)
    assert ALIASES.keys().isdisjoint(option.name for option in TABLE)


@pytest.mark.parametrize(
    ("args", "incomplete", "expected"),
    [
        (["--prestart"], "", ["run", "wait", "check", "off"]),
        (["--worker-class"], "uv", ["uvicorn"]),
        ([], "--worker-c", ["--worker-class"]),
    ],
)
def test_completion(args: list[str], incomplete: str, expected: list[str]) -> None:
    """A shell completes options and their usual values."""
    found = ShellComplete(run, {}, "run", "_RUN_COMPLETE").get_completions(args, incomplete)

    assert expected == [item.value for item in found]
