"""Are hooks found without importing anybody, and called one by one?"""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Protocol

import pytest

import launcher
from launcher import HealthCheck, hookimpl, hookspecs
from launcher.hook_calls import Hooks, Refused
from launcher.hook_plugins import HOOKS, HookPlugin, hook_plugins, mentioned, of_host, of_workers
from launcher.serving.workers.own_health import OwnHealth
from launcher.serving.workers.wrap_app import wrap
from support.waiting import until


class Write(Protocol):
    """What the fixture `write` is."""

    def __call__(self, **modules: str) -> Path:
        """Write modules that can be imported, and return their folder."""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write modules for one test."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(**modules: str) -> Path:
        for name, text in modules.items():
            path = tmp_path / f"{name}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return made


def test_the_hooks_say_where_and_when_and_how() -> None:
    """Each tells in which process it runs, when, whether it may block, what an exception does."""
    documented = {name: inspect.getdoc(getattr(hookspecs, name)) or "" for name in HOOKS}

    for text in documented.values():
        assert all(f"{word}: " in text for word in ("Process", "When", "May block", "Exception"))
    assert set(HOOKS) == {name for name in vars(hookspecs) if name.startswith("launcher_")}


def test_the_launcher_stays_light() -> None:
    """The public names are loaded when somebody asks for them, and no sooner."""
    program = "import sys, launcher; print({'pluggy', 'inspect', 'launcher.records'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True).stdout

    assert "set()" == loaded.strip()
    assert HealthCheck is launcher.records.HealthCheck
    with pytest.raises(AttributeError, match="nonsense"):
        launcher.nonsense  # noqa: B018 - that is the claim


@pytest.mark.parametrize(
    ("modules", "target", "expected"),
    [
        ({"mh_a": "def launcher_event(event): ..."}, "mh_a", ("launcher_event",)),
        ({"mh_b": "launcher_steps = {}"}, "mh_b", ()),
        ({"mh_c": "from somewhere import *"}, "mh_c", HOOKS),
        ({"mh_d/__init__": "", "mh_d/impl": "def launcher_wrap_app(app): ..."}, "mh_d.impl", ("launcher_wrap_app",)),
        (
            {"mh_e/__init__": "", "mh_e/plugin": "", "mh_e/impl": "def launcher_incident(self, report): ..."},
            "mh_e.plugin:plugin",
            ("launcher_incident",),
        ),
        ({}, "mh_nowhere", HOOKS),
    ],
)
def test_hooks_are_found_in_the_source(
    write: Write, modules: dict[str, str], target: str, expected: tuple[str, ...]
) -> None:
    """The names in a module, or of the package around an object; all of them where that cannot be told."""
    folder = write(**modules)

    assert expected == mentioned(target, folder)
    assert expected == mentioned(target)
    assert target not in sys.modules


def test_modules_first_then_distributions(write: Write) -> None:
    """A distribution is named with its version; who has no hook costs nobody anything."""
    folder = write(
        hp_own="def launcher_wrap_app(app): ...", hp_kinds="launcher_locks = {}", hp_dist="launcher_event = 1"
    )
    info = folder / "hp_dist-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hp-dist\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[launcher]\nany = hp_dist\n")
    found = [one for one in hook_plugins(["hp_own", "hp_kinds"], folder) if one.target.startswith("hp_")]

    assert [
        HookPlugin("module hp_own", "hp_own", ("launcher_wrap_app",)),
        HookPlugin("hp-dist 1.2", "hp_dist", ("launcher_event",)),
    ] == found
    assert [found[1]] == [HookPlugin.of_plan(one) for one in of_host(found)]
    assert ["hp_own"] == of_workers(found)


def test_a_plugin_may_need_a_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not, nothing is loaded for the plugin, which is listed all the same."""
    folder = write(of_a='launcher_only_with = "of.toml"\ndef launcher_event(event): ...')
    monkeypatch.chdir(folder)

    def found(*, unused: bool = False) -> list[str]:
        return [one.target for one in hook_plugins(["of_a"], folder, unused=unused) if one.target == "of_a"]

    without = found()
    (folder / "of.toml").touch()

    assert ([], ["of_a"], ["of_a"]) == (without, found(unused=True), found())


def test_a_plugin_may_need_one_of_several(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a variable that is not empty: one of them is enough."""
    folder = write(oo_a='launcher_only_with = ("oo.toml", "$OO_URL")\ndef launcher_event(event): ...')
    monkeypatch.chdir(folder)

    def is_found() -> bool:
        return [one.target for one in hook_plugins(["oo_a"], folder)][:1] == ["oo_a"]

    monkeypatch.setenv("OO_URL", " ")
    without = is_found()
    monkeypatch.setenv("OO_URL", "https://192.0.2.1/")
    with_variable = is_found()
    monkeypatch.delenv("OO_URL")
    (folder / "oo.toml").touch()

    assert (False, True, True) == (without, with_variable, is_found())


def test_functions_are_taken_by_name_or_by_mark(write: Write) -> None:
    """The mark is for its options; fewer arguments than the hook's are fine; dictionaries of kinds are not hooks."""
    write(
        hc_a="""
            from launcher import hookimpl
            launcher_steps = {}
            def launcher_event(): return "a"
        """,
        hc_b="""
            from launcher import hookimpl
            @hookimpl(specname="launcher_event", trylast=True)
            def heard(event): return f"b {event}"
        """,
    )
    hooks = Hooks()

    assert hooks.load("A", "hc_a")
    assert hooks.load("B", "hc_b")
    assert [("A", "a"), ("B", "b 1")] == [(one.who, one(event=1)) for one in hooks.implementations("launcher_event")]
    assert [] == hooks.refused


def test_what_cannot_be_called_one_by_one_is_refused(write: Write) -> None:
    """The plugin and the reason are named, and its other hooks are used."""
    write(
        hr_a="""
            from launcher import hookimpl
            async def launcher_event(event): ...
            @hookimpl(wrapper=True)
            def launcher_incident(report): return (yield)
            def launcher_helth_checks(settings): ...
            def launcher_wrap_app(app): return app
        """,
        hr_b="class Plugin:\n    def launcher_event(self, event): ...",
    )
    hooks = Hooks()
    hooks.load("A", "hr_a")
    hooks.load("B", "hr_b:Plugin")
    reasons = dict.fromkeys(who for who, _ in hooks.refused)

    assert {"A": None, "B": None} == reasons
    for word in ("launcher_event is `async def`", "launcher_incident is a wrapper", "no hook launcher_helth_checks"):
        assert any(who == "A" and word in because for who, because in hooks.refused)
    assert 1 == len(hooks.implementations("launcher_wrap_app"))


def test_what_returns_a_coroutine_is_refused(write: Write) -> None:
    """Nobody would wait for it."""
    write(hz_a="async def late(): ...\ndef launcher_event(event): return late()")
    hooks = Hooks()
    hooks.load("A", "hz_a")

    with pytest.raises(Refused, match="launcher_event returned something to be awaited"):
        hooks.implementations("launcher_event")[0](event=1)


def test_the_first_plugin_is_outermost(write: Write) -> None:
    """Middleware of several plugins lies around the application in the order of their names."""
    text = "def launcher_wrap_app(app): return lambda: [__name__, *app()]"
    write(
        wa_a=text,
        wa_b=text,
        wa_raises="def launcher_wrap_app(app): raise KeyError('on purpose')",
        wa_async="async def launcher_wrap_app(app): ...",
        wa_none="def launcher_wrap_app(app): return None",
        wa_wrong="def launcher_wrap_app(app): return 'middleware'",
        wa_leaves="import sys; sys.exit(1)",
    )
    names = ["wa_a", "wa_raises", "wa_async", "wa_none", "wa_wrong", "wa_leaves", "wa_missing", "wa_b"]
    wrapped = wrap(lambda: ["app"], names)

    assert ["wa_a", "wa_b", "app"] == wrapped()
    assert "app" == wrap("app", [])


@hookimpl
def launcher_event(event: object) -> None:
    """Be an implementation, for the type checker."""
    del event


def test_an_object_is_a_plugin(write: Write) -> None:
    """An instance's methods are hooks as a module's functions are."""
    write(ob_a="class P:\n    def launcher_event(self, event): return [self, event]\nplugin = P()")
    hooks = Hooks()
    hooks.load("A", "ob_a:plugin")
    (implementation,) = hooks.implementations("launcher_event")

    assert 7 == implementation(event=7)[1]
    assert isinstance(sys.modules["ob_a"], ModuleType)


def test_a_worker_that_finds_itself_unwell(write: Write) -> None:
    """Not well before the first call and while it raises; well as soon as it does not."""
    write(oh_a="broken = [1]\ndef well():\n    if broken: raise OSError('no model at ftp://u:geheim@h')")
    slot: Any = SimpleNamespace(unhealthy=False)
    now = [0.0]
    health = OwnHealth("oh_a:well", slot, lambda: now[0])
    before = slot.unhealthy

    def asked() -> bool:
        """Have the function called once more."""
        now[0] += 5.0
        health.tick()
        until(lambda: health._thread is None or not health._thread.is_alive(), "its return")  # noqa: SLF001 - its end
        health.tick()
        return bool(slot.unhealthy)

    raising = asked()
    sys.modules["oh_a"].broken.clear()

    assert (True, True, False) == (before, raising, asked())


@pytest.mark.parametrize("target", ["oh_missing:well", "oh_b:nothing", "oh_b:number", "oh_b:late", "oh_b"])
def test_a_worker_function_that_cannot_be_asked(write: Write, target: str) -> None:
    """It is named, and the worker does not start."""
    write(oh_b="number = 1\nasync def late(): ...")
    with pytest.raises(launcher.errors.PluginError, match=target):
        OwnHealth(target, SimpleNamespace(unhealthy=False))
