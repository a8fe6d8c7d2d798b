"""How does the table of options become a command line?

`launcher_options` gives a command the options; `LauncherCommand` parses: what follows `--` belongs to the server, an
unknown option is answered with the nearest known one or with the server that knows it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from launcher.settings.nearest import nearest
from launcher.settings.option import Alias, Group, Kind, Option
from launcher.settings.options import TABLE

T = TypeVar("T")
_GIVEN = "launcher.given"
_SERVER_ARGS = "launcher.server_args"
_HELP_FLAGS = ["-h", "--help"]  # `fastapi run` and gunicorn have -h


class _Words(click.ParamType[str]):
    """A text of which the usual values are offered by shell completion; `load` checks it."""

    name = "text"

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click's signature
        return [CompletionItem(word) for word in self.words if word.startswith(incomplete)]


class _Flag(click.Option):
    """An option that knows its section of the help text."""

    def __init__(self, *args: Any, section: Group, **settings: Any) -> None:
        self.section = section
        super().__init__(*args, **settings)


class LauncherCommand(click.Command):
    """A command with the launcher's options; those of the server stand after `--`."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        """Take -h for help too."""
        settings["context_settings"] = {"help_option_names": _HELP_FLAGS, **(settings.get("context_settings") or {})}
        super().__init__(*args, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what follows `--` for the server; raise click's UsageError, with a cure, for an unknown option."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_SERVER_ARGS] = tuple(args[end + 1 :])
        try:
            return super().parse_args(ctx, args[:end])
        except click.NoSuchOption as error:
            raise click.UsageError(_unknown(error.option_name, self), ctx) from None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in the sections of the table, others first."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                heading = param.section.value if isinstance(param, _Flag) else "Options"
                sections.setdefault(heading, []).append(record)
        for heading in ("Options", *(group.value for group in Group)):
            if heading in sections:
                with formatter.section(heading):
                    formatter.write_dl(sections[heading])


def launcher_options(*names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Return a decorator that adds options: all of them and APP, or only those `names` (of options or groups).

    The function is called with those that were given, under their names, and, if there is APP, with `server_args`.
    """
    options = [option for option in TABLE if not names or {option.name, option.group.name.lower()} & set(names)]
    takes_app = any(option.name == "app" for option in options)

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(function)
        def with_given(**others: object) -> T:
            meta = click.get_current_context().meta
            server_args = {"server_args": meta.get(_SERVER_ARGS, ())} if takes_app else {}
            return function(**others, **server_args, **meta.get(_GIVEN, {}))

        # click reads them from the innermost decorator outwards, and so in reverse.
        for decorator in reversed([decorator for option in options for decorator in _decorators(option)]):
            decorator(with_given)
        return with_given

    return decorate


def _decorators(option: Option) -> Iterator[Callable[[Any], Any]]:
    if option.name == "app":
        yield click.argument("app", required=False, expose_value=False, callback=_keep, metavar="[APP]")
    elif option.flag.startswith("--"):
        yield _decorator(option)
    for alias in option.aliases:
        yield _alias_decorator(option, alias)


def _decorator(option: Option) -> Callable[[Any], Any]:
    flag = f"{option.flag}/--no-{option.flag[2:]}" if option.pair else option.flag
    settings: dict[str, Any] = {"is_flag": True} if _is_switch(option) else _value(option, option.metavar)
    return click.option(
        *option.flags,
        flag,
        option.name,
        cls=_Flag,
        section=option.group,
        help=_help(option),
        expose_value=False,
        callback=_keep,
        **settings,
    )


def _alias_decorator(option: Option, alias: Alias) -> Callable[[Any], Any]:
    settings: dict[str, Any] = {"is_flag": True} if alias.value else _value(option, alias.metavar)
    return click.option(
        *alias.flags,
        alias.key,
        cls=_Flag,
        section=option.group,
        help=alias.help,
        hidden=not alias.help,
        expose_value=False,
        callback=_keep,
        **settings,
    )


def _value(option: Option, metavar: str) -> dict[str, Any]:
    words = option.words or (option.metavar.split("|") if option.metavar.islower() and "|" in option.metavar else ())
    kind = click.Path() if option.kind is Kind.PATH else _Words(tuple(words))
    shown = metavar or "|".join(option.words) or _METAVARS.get(option.kind, "TEXT")
    return {"type": kind, "metavar": shown, "multiple": option.kind is Kind.TEXTS}


def _is_switch(option: Option) -> bool:
    return option.pair or option.kind is Kind.BOOLEAN


def _help(option: Option) -> str:
    default = option.shown_default
    if not default and option.default not in (None, False, ()):
        from launcher.settings.values import shown  # only help needs it

        default = "on" if option.default is True else str(shown(option, option.default))
    return f"{option.help} [{default}]" if default else option.help


def _keep(ctx: click.Context, param: click.Parameter, value: object) -> object:
    """Remember a value that was given on this command line; the other sources are read by `load`."""
    if param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
        ctx.meta.setdefault(_GIVEN, {})[param.name] = value
    return value


def _unknown(flag: str, command: click.Command) -> str:
    """Return what is said of an unknown option: the nearest of ours, the server that knows it."""
    known = [name for param in command.params for name in (*param.opts, *param.secondary_opts) if name.startswith("--")]
    near = nearest(flag, known) if flag.startswith("--") else None
    servers = [server for server, flags in _server_flags() if flag in flags]
    sentences = [f"No such option: {flag}."]
    if near is not None and not servers:
        sentences.append(f"Did you mean {near}?")
    if servers:
        sentences.append(f"After `--` it goes to {' or '.join(servers)}: `launcher {command.name} … -- {flag} …`.")
    return " ".join(sentences)


def _server_flags() -> Iterator[tuple[str, set[str]]]:
    """Yield what each installed server's own parser knows. Slow, and only for a message that ends the program."""
    try:
        from gunicorn.config import make_settings  # 80 ms

        settings = make_settings().values()  # type: ignore[no-untyped-call]  # gunicorn ships no types
        yield "gunicorn", {flag for setting in settings for flag in setting.cli or ()}
    except (ImportError, ValueError):  # ValueError: a WEB_CONCURRENCY that gunicorn cannot read at its import
        pass
    try:
        from uvicorn.main import main  # 200 ms
    except ImportError:
        return
    yield "uvicorn", {flag for param in main.params for flag in (*param.opts, *param.secondary_opts)}


_METAVARS = {
    Kind.PATH: "PATH",
    Kind.PORT: "PORT",
    Kind.COUNT: "N",
    Kind.NUMBER: "NUMBER",
    Kind.DURATION: "TIME",
    Kind.SIZE: "SIZE",
}
