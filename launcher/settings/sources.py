"""What did the command line and the LAUNCHER_ variables say?"""

from __future__ import annotations

import re
from collections.abc import Mapping

from launcher.errors import UsageError
from launcher.origin import Ignored, Origin, OriginKind, Sourced
from launcher.settings.layers import Environment, Layer
from launcher.settings.nearest import nearest_option
from launcher.settings.option import ENVIRONMENT_PREFIX
from launcher.settings.options import ALIASES, BY_NAME

# What the launcher sets for its own children (a step may start `launcher` again), and what is a plugin's of ours.
_OUR_OWN = ("LAUNCHER_STEP_", "LAUNCHER_PLAN_", "LAUNCHER_WEBHOOK_")
# Kubernetes sets these for a Service named `launcher` or `launcher-…`:
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
_SERVICE_LINK = re.compile(
    r"LAUNCHER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
_LINK_PORT = re.compile(r"LAUNCHER_(\w+_)?PORT")
_LINK_VALUE = re.compile(r"(tcp|udp|sctp)://")


def command_line_layer(given: Mapping[str, object]) -> Layer:
    """Return what the command line said: keys are option names or `Alias.key`, values as click hands them over.

    Raises UsageError when two spellings of one option were given.
    """
    values: dict[str, Sourced[object]] = {}
    for key, raw in given.items():
        name, said = _from_command_line(key, raw)
        if name in values:
            places = f"{values[name].origin} and {said.origin}"
            raise UsageError(f"{places} say the same thing twice", cure="give one of them")
        values[name] = said
    return Layer(values, strict=True)


def environment_layer(environment: Environment) -> tuple[Layer, list[Ignored]]:
    """Return the LAUNCHER_ variables, and those that are blank; raise UsageError for an unknown one."""
    values: dict[str, Sourced[object]] = {}
    ignored: list[Ignored] = []
    for variable, text in environment.values.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or _is_not_a_setting(variable, text):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        origin = environment.origin(variable, OriginKind.ENVIRONMENT)
        if name not in BY_NAME or variable != BY_NAME[name].variable:
            raise _unknown(variable, origin)
        if text.strip():
            values[name] = Sourced(text, origin)
        else:
            ignored.append(Ignored(name, origin, "it is blank, which counts as not set"))
    return Layer(values, strict=True), ignored


def _from_command_line(key: str, raw: object) -> tuple[str, Sourced[object]]:
    if key == "variable" and _is_app(raw):
        return "app", Sourced(raw, Origin(OriginKind.COMMAND_LINE, BY_NAME[key].flag))
    if key in BY_NAME:
        return key, Sourced(raw, Origin(OriginKind.COMMAND_LINE, BY_NAME[key].flag))
    option, alias = ALIASES[key]
    value = raw if alias.value is None else alias.value
    return option.name, Sourced(value, Origin(OriginKind.COMMAND_LINE, alias.flags[0]))


def _is_app(raw: object) -> bool:
    """Return whether `--app VALUE` names an application and not, as with fastapi, the variable in it."""
    return isinstance(raw, str) and (":" in raw or "/" in raw or raw.endswith(".py"))


def _is_not_a_setting(variable: str, text: str) -> bool:
    if variable.startswith(_OUR_OWN) or _SERVICE_LINK.fullmatch(variable):
        return True
    return bool(_LINK_PORT.fullmatch(variable) and _LINK_VALUE.match(text))


def _unknown(variable: str, origin: Origin) -> UsageError:
    found = nearest_option(variable.removeprefix(ENVIRONMENT_PREFIX))
    cure = f"did you mean {BY_NAME[found].variable}?" if found else "variables that begin with LAUNCHER_ are settings"
    return UsageError(f"{origin}: there is no such setting", cure=cure)
