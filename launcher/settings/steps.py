"""Which steps do the `[[prestart]]` tables describe?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast, get_args

from launcher.errors import UsageError
from launcher.origin import Origin, OriginKind
from launcher.settings.nearest import nearest
from launcher.settings.topics import OncePer, StepSettings
from launcher.units import seconds

BUILT_IN = ("alembic", "run", "call", "wait-for")
_COMMON = ("name", "once_per", "timeout", "attempts", "files")
_ENTRY_POINTS = "launcher.steps"
_DEFAULT_ATTEMPTS = 3  # evidence/locks.md §4: of the whole fleet at full speed; then one at a time, growing pauses
_DEFAULT_TIMEOUT_S = 600.0  # DESIGN §6: a step's own `timeout` default 10m


def steps_of(raw: object, where: str, *, with_modules: bool = False) -> tuple[StepSettings, ...]:
    """Return the steps of an array of tables; raise UsageError with the table and key that are not as they must be.

    `with_modules`: `plugins = [...]` names modules that may bring further types; those are looked up later, when the
    application's folder is known, so an unknown word passes here.
    """
    if not isinstance(raw, list) or not all(isinstance(table, dict) for table in raw):
        raise UsageError(
            f"{where}: prestart is neither a text nor an array of tables",
            cure='write [[prestart]] above each step, or prestart = "run", "wait", "check" or "off"',
        )
    steps: list[StepSettings] = []
    for number, table in enumerate(raw, start=1):
        steps.append(
            _step(table, f"[[prestart]] {number} in {where}", [step.name for step in steps], with_modules=with_modules)
        )
    return tuple(steps)


def _step(table: Mapping[str, object], where: str, taken: Collection[str], *, with_modules: bool) -> StepSettings:
    key = _type_key(table, where, with_modules=with_modules)
    kind = key.replace("_", "-") if key.replace("_", "-") in BUILT_IN else key
    return StepSettings(
        name=_name(table, where, kind, taken),
        named="name" in table,
        type=kind,
        value=table[key],
        origin=Origin(OriginKind.FILE, where),
        once_per=_once_per(table, where),
        timeout_s=_timeout_s(table, where),
        attempts=_attempts(table, where),
        files=_files(table, where),
        options={option: value for option, value in table.items() if option not in {key, *_COMMON}},
    )


def _type_key(table: Mapping[str, object], where: str, *, with_modules: bool) -> str:
    """Return the one key that names the type; installed plugins are asked only when no built-in type is there."""
    known = [key for key in table if key.replace("_", "-") in BUILT_IN]
    kinds: Collection[str] = BUILT_IN
    if not known:
        kinds = {*BUILT_IN, *_installed()}
        known = [key for key in table if key in kinds and key not in _COMMON]
    if len(known) == 1:
        return known[0]
    if known:
        raise UsageError(f"{where}: {' and '.join(known)} are two steps", cure="write a [[prestart]] for each")
    others = [key for key in table if key not in _COMMON]
    if others and with_modules:
        return others[0]
    found = next(filter(None, (nearest(key, kinds) for key in others)), None)
    what = f"{others[0]!r} is no step type" if others else "no key names what to do"
    raise UsageError(
        f"{where}: {what}", cure=f"did you mean {found}?" if found else f"write one of {', '.join(sorted(kinds))}"
    )


def _installed() -> frozenset[str]:
    from importlib.metadata import entry_points  # 30 ms, needed only for types that are not built in

    return frozenset(entry_points(group=_ENTRY_POINTS).names)


def _name(table: Mapping[str, object], where: str, kind: str, taken: Collection[str]) -> str:
    """Return the given name, which must be free, or the type with the first free number."""
    if "name" not in table:
        return next(name for name in (kind, *(f"{kind}-{n}" for n in range(2, len(taken) + 3))) if name not in taken)
    name = table["name"]
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"{where}: name = {name!r} is not a name", cure='write a text, such as name = "seed"')
    if name in taken:
        raise UsageError(f"{where}: another step is called {name!r}", cure="give each step a name of its own")
    return name


def _once_per(table: Mapping[str, object], where: str) -> OncePer | None:
    value = table.get("once_per")
    words = get_args(OncePer)
    if value is not None and value not in words:
        raise UsageError(f"{where}: once_per = {value!r} is not known", cure=f"write one of {', '.join(words)}")
    return cast("OncePer | None", value)


def _timeout_s(table: Mapping[str, object], where: str) -> float:
    value = table.get("timeout", _DEFAULT_TIMEOUT_S)
    try:
        timeout_s = seconds(str(value))
        if not timeout_s:
            raise ValueError(f"{value!r} leaves no time to the step")  # noqa: TRY301 - one message for both
    except ValueError as error:
        raise UsageError(f"{where}: timeout: {error}", cure='write a duration, such as timeout = "5m"') from None
    return timeout_s


def _attempts(table: Mapping[str, object], where: str) -> int:
    value = table.get("attempts", _DEFAULT_ATTEMPTS)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(
            f"{where}: attempts = {value!r} is not a whole number from 1 on",
            cure="write how often the fleet may try at full speed, such as attempts = 3",
        )
    return value


def _files(table: Mapping[str, object], where: str) -> tuple[str, ...]:
    value = table.get("files", [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UsageError(f"{where}: files is not a list of texts", cure='write files = ["data/*.json"]')
    if table.get("once_per") == "content" and not value:
        raise UsageError(f'{where}: once_per = "content" without files', cure='say which: files = ["data/*.json"]')
    return tuple(value)
