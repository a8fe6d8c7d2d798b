"""Which command line does each server get for what was decided?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from launcher.crossing import PLAN_FD, write_plan
from launcher.errors import UsageError
from launcher.servers import Listener, Server
from launcher.servers.gunicorn import GunicornServer
from launcher.servers.uvicorn import UvicornServer
from launcher.serving.crossed import Crossed
from launcher.serving.rules import Rules
from support.become import make_plan

TCP = (Listener("0.0.0.0:8000", 7),)
NO_TMPFS = Path("/nothing/here")


def argv(server: Server, listeners: tuple[Listener, ...] = TCP, /, **changes: Any) -> str:
    """Return the words after the module, as one line."""
    plan = make_plan(listeners, {"import_dir": "/srv", "environ": {}} | changes)
    return " ".join(server.command(plan).argv[1:])


def gunicorn() -> GunicornServer:
    """Return a server that finds no shared memory: the same words on every machine."""
    return GunicornServer(NO_TMPFS, NO_TMPFS)


def test_gunicorn_shows_what_runs() -> None:
    """A person who looks at `ps` sees the address, the number and class of workers and the application."""
    line = argv(gunicorn(), workers=2)

    assert (
        line == "-P -m launcher.serving gunicorn --bind 0.0.0.0:8000 --workers 2 --worker-class uvicorn "
        "--graceful-timeout 5 --access-logfile - --no-control-socket main:app"
    )


def test_uvicorn_shows_what_runs() -> None:
    """The same for uvicorn, in its own words."""
    line = argv(UvicornServer(), workers=2)

    assert (
        line == "-P -m launcher.serving uvicorn --host 0.0.0.0 --port 8000 --app-dir /srv --workers 2 "
        "--log-level info --access-log --timeout-graceful-shutdown 5 main:app"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factory": True, "app": "main:create"}, "main:create()"),
        ({"pool": {"worker_timeout": 0.5}}, "--timeout 1"),
        ({"pool": {"graceful_timeout": 7.2}, "graceful_timeout_s": 7.2}, "--graceful-timeout 8"),
        ({"pool": {"max_requests": 9, "max_requests_jitter": 2}}, "--max-requests 9 --max-requests-jitter 2"),
        ({"pool": {"preload": True}}, "--preload"),
        ({"pool": {"worker_class": "own.Worker"}}, "--worker-class own.Worker"),
        ({"pool": {"worker_class": "uvicorn.workers.UvicornWorker"}}, "--worker-class uvicorn"),
        ({"pool": {"config": "conf.py"}}, "--config conf.py"),
        ({"pool": {"server_args": ["--threads", "2"]}}, "--threads 2 main:app"),
        ({"http": {"keep_alive": 4.5}}, "--keep-alive 5"),
        ({"http": {"forwarded_allow_ips": "*"}}, "--forwarded-allow-ips *"),
        ({"http": {"root_path": "/api"}}, "--root-path /api"),
        ({"http": {"ssl_certfile": "c.pem", "ssl_keyfile": "k.pem"}}, "--certfile c.pem --keyfile k.pem"),
        ({"log": {"level": "trace"}}, "--log-level debug"),
        ({"log": {"access_log": "access.log"}}, "--access-logfile access.log"),
        ({"log": {"error_log": "error.log"}}, "--error-logfile error.log"),
        ({"log": {"error_log": False}}, "--error-logfile /dev/null"),
    ],
)
def test_gunicorn_options(changes: dict[str, Any], words: str) -> None:
    """Each option reaches gunicorn under gunicorn's own name, whole seconds rounded up."""
    line = argv(gunicorn(), **changes)

    assert f" {words} " in f"{line} "


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"factory": True, "app": "main:create"}, "--factory"),
        ({"pool": {"worker_timeout": 9}, "workers": 2}, "--timeout-worker-healthcheck 9"),
        ({"pool": {"max_requests": 9}, "workers": 2}, "--limit-max-requests 9"),
        ({"pool": {"reload": True, "reload_dir": ["a", "b"]}}, "--reload --reload-dir a --reload-dir b"),
        ({"pool": {"server_args": ["--ws", "none"]}}, "--ws none main:app"),
        ({"http": {"keep_alive": 4.5}}, "--timeout-keep-alive 5"),
        ({"http": {"proxy_headers": False}}, "--no-proxy-headers"),
        ({"http": {"proxy_headers": True}}, "--proxy-headers"),
        ({"http": {"ssl_certfile": "c.pem"}}, "--ssl-certfile c.pem"),
        ({"log": {"access_log": False}}, "--no-access-log"),
    ],
)
def test_uvicorn_options(changes: dict[str, Any], words: str) -> None:
    """Each option reaches uvicorn under uvicorn's own name, whole seconds rounded up."""
    line = argv(UvicornServer(), **changes)

    assert f" {words} " in f"{line} "


def test_a_reload_counts_no_workers() -> None:
    """With --reload uvicorn would complain about a number of workers, so it is told none."""
    line = argv(UvicornServer(), pool={"reload": True}, workers=4)

    assert "--workers" not in line


@pytest.mark.parametrize(
    ("server", "changes", "words"),
    [
        (gunicorn(), {"pool": {"server_args": ["--bind=:1"]}}, "--bind=:1"),
        (gunicorn(), {"pool": {"server_args": ["-b:1"]}}, "-b:1"),
        (gunicorn(), {"pool": {"server_args": ["--daemon"]}}, "--daemon"),
        (gunicorn(), {"pool": {"reload": True}}, "file changes"),
        (gunicorn(), {"pool": {"worker_class": "asgi"}, "http": {"proxy_headers": True}}, "asgi"),
        (gunicorn(), {"environ": {"GUNICORN_CMD_ARGS": "'"}}, "GUNICORN_CMD_ARGS"),
        (UvicornServer(), {"pool": {"server_args": ["--port", "1"]}}, "--port"),
        (UvicornServer(), {"pool": {"preload": True}}, "--preload"),
        (UvicornServer(), {"pool": {"worker_class": "asgi"}}, "asgi"),
        (UvicornServer(), {"pool": {"max_requests": 9}}, "--max-requests"),
        (UvicornServer(), {"pool": {"worker_timeout": 9}}, "--worker-timeout"),
        (UvicornServer(), {"pool": {"startup_timeout": 9}}, "--startup-timeout"),
        (UvicornServer(), {"pool": {"max_worker_lifetime": 9}}, "--max-worker-lifetime"),
        (UvicornServer(), {"pool": {"restart_intensity": 9}}, "--restart-intensity"),
        (UvicornServer(), {"pool": {"config": "gunicorn.conf.py"}}, "--config"),
        (UvicornServer(), {"log": {"access_log": "access.log"}}, "access.log"),
        (UvicornServer(), {"log": {"error_log": "error.log"}}, "error.log"),
    ],
)
def test_what_a_server_cannot_do_is_refused(server: Server, changes: dict[str, Any], words: str) -> None:
    """Nothing is accepted and then ignored: the message names the option."""
    with pytest.raises(UsageError, match=words):
        argv(server, **changes)


def crossed(server: Server, **changes: Any) -> Crossed:
    """Return what the other side of the exec reads."""
    command = server.command(make_plan(TCP, {"workers": 2} | changes))
    assert command.handover is not None
    plan_fd = write_plan(command.handover)
    try:
        return Crossed.read({PLAN_FD: str(plan_fd)})
    finally:
        os.close(plan_fd)


@pytest.mark.parametrize("server", [gunicorn(), UvicornServer()])
def test_the_rules_of_the_pool_cross(server: Server) -> None:
    """What was decided about the pool is on the other side of the exec; what nobody said has its default."""
    pool = {"startup_timeout": 9.5, "worker_timeout": 0.0, "max_worker_lifetime": 3600.0, "restart_intensity": 7}
    said = crossed(server, pool=pool, graceful_timeout_s=6.0, drain_delay_s=1.5).rules

    assert (
        Rules(
            workers=2,
            startup_timeout_s=9.5,
            worker_timeout_s=0.0,
            graceful_timeout_s=6.0,
            drain_delay_s=1.5,
            max_worker_lifetime_s=3600.0,
            restart_intensity=7,
        )
        == said
    )
    assert Rules(workers=2, graceful_timeout_s=5.0) == crossed(server).rules


@pytest.mark.parametrize("server", [gunicorn(), UvicornServer()])
def test_how_lines_look_crosses(server: Server) -> None:
    """The log of the other side is told what was decided about ours."""
    log = {"level": "debug", "access_log": False, "access_log_exclude": ("/livez", "/readyz")}
    told = crossed(server, log=log).log

    assert {"level": "debug", "access": False, "error": True, "access_exclude": ["/livez", "/readyz"]} == {
        name: value for name, value in told.items() if name != "console"
    }
    assert isinstance(told["console"], bool)


@pytest.mark.parametrize(("workers", "asked", "deaths"), [(1, None, 3), (8, None, 8), (8, 2, 2)])
def test_restart_intensity(workers: int, asked: int | None, deaths: int) -> None:
    """A pool gives up after as many deaths as it has workers, at least three, or as many as were said."""
    assert deaths == Rules(restart_intensity=asked).intensity(workers)


def test_decisions_give_way_to_the_users_configuration() -> None:
    """With GUNICORN_CMD_ARGS about, only what was asked for is on the command line; the rest crosses as defaults."""
    changes = {"environ": {"GUNICORN_CMD_ARGS": "--workers 5"}, "http": {"root_path": "/x"}, "workers": 2}
    command = gunicorn().command(make_plan(TCP, changes))

    assert "--workers" not in command.argv
    assert "--root-path" in command.argv
    assert command.handover is not None
    assert command.handover["defaults"][:2] == ["--workers", "2"]  # type: ignore[index]  # JSON


def test_a_control_socket_that_is_mentioned_stays() -> None:
    """Gunicorn's control socket is off unless the user's own words are about it."""
    assert "--no-control-socket" not in argv(gunicorn(), pool={"server_args": ["--control-socket", "/run/x.ctl"]})


def test_heartbeats_go_to_shared_memory(tmp_path: Path) -> None:
    """The workers' heartbeat files lie in a writable tmpfs where there is one."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\ntmpfs {tmp_path} tmpfs rw 0 0\n")

    assert f"--worker-tmp-dir {tmp_path}" in argv(GunicornServer(tmp_path, mounts))


@pytest.mark.parametrize("server", [gunicorn(), UvicornServer()])
def test_an_unusable_web_concurrency_is_replaced(server: Server) -> None:
    """Both servers would crash on WEB_CONCURRENCY=auto: they see the number that was decided."""
    command = server.command(make_plan(TCP, {"environ": {"WEB_CONCURRENCY": "auto"}, "workers": 3}))

    assert command.environ == {"WEB_CONCURRENCY": "3"}


def test_plain_is_the_bare_server() -> None:
    """With --plain nothing of ours is executed, and nothing is handed over."""
    command = gunicorn().command(make_plan(TCP, {"pool": {"plain": True}, "import_dir": "/srv", "environ": {}}))

    assert command.argv[1:5] == ("-m", "gunicorn", "--bind", "fd://7")
    assert "uvicorn_worker.UvicornWorker" in command.argv
    assert command.handover is None


def test_plain_uvicorn_ignores_what_only_a_pool_can_do() -> None:
    """What is said to be ignored is not refused."""
    pool = {"plain": True, "startup_timeout": 9, "max_worker_lifetime": 9, "restart_intensity": 9}

    assert UvicornServer().command(make_plan(TCP, {"pool": pool})).handover is None


def test_plain_uvicorn_takes_one_address() -> None:
    """The bare uvicorn has one --fd: more addresses are refused."""
    plan = make_plan((*TCP, Listener("unix:/run/x", 8)), {"pool": {"plain": True}})

    with pytest.raises(UsageError, match="one address"):
        UvicornServer().command(plan)


def test_every_address_is_shown() -> None:
    """IPv6 and Unix sockets stand in uvicorn's own words."""
    listeners = (Listener("[::1]:80", 7), Listener("unix:/run/x", 8), Listener("fd://3", 3))

    assert "--host ::1 --port 80 --uds /run/x --fd 3" in argv(UvicornServer(), listeners)
