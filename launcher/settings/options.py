"""Which options are there?

One table (DESIGN §6). The three spellings of an option are derived from its name: `graceful_timeout` in a file,
`LAUNCHER_GRACEFUL_TIMEOUT` in the environment, `--graceful-timeout` on the command line. Nothing here reads anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

from launcher.settings.option import Alias, Group, Kind, Option

LOG_LEVELS = ("critical", "error", "warning", "info", "debug", "trace")  # uvicorn's list, gunicorn's plus trace

_app = partial(Option, group=Group.APP)
_bind = partial(Option, group=Group.BIND)
_server = partial(Option, group=Group.SERVER)
_memory = partial(Option, group=Group.MEMORY)
_prestart = partial(Option, group=Group.PRESTART)
_life = partial(Option, group=Group.LIFE)
_monitor = partial(Option, group=Group.MONITOR)
_log = partial(Option, group=Group.LOG)
_http = partial(Option, group=Group.HTTP)
_files = partial(Option, group=Group.FILES)

TABLE: tuple[Option, ...] = (
    _app(
        "app",
        Kind.TEXT,
        "module:attribute, module:factory(), a file or a folder.",
        shown_default="searched for",
        main_flag="",
        aliases=(Alias(("--entrypoint", "-e"), help="The same as APP, as `fastapi run` has it.", metavar="APP"),),
    ),
    _app(
        "variable",
        Kind.TEXT,
        "The variable in the module that is the application.",
        shown_default="app, application, api",
        main_flag="--app",
        metavar="NAME",
    ),
    _app("factory", Kind.BOOLEAN, "APP is called to get the app.", default=False),
    _app("app_dir", Kind.PATH, "Import from here.", shown_default="working directory"),
    _app("env_file", Kind.PATH, "Environment variables, under those that are set."),
    _app("plugins", Kind.TEXTS, "Modules that bring step types, lock types or servers.", default=(), metavar="MODULE"),
    _bind("host", Kind.TEXT, "Address or name.", shown_default="0.0.0.0"),  # noqa: S104 - as `fastapi run`
    _bind("port", Kind.PORT, "Port; 0: any free one.", shown_default="8000"),
    _bind(
        "bind",
        Kind.TEXTS,
        "HOST:PORT, unix:PATH or fd://N; may be repeated.",
        shown_default="0.0.0.0:8000; with --reload 127.0.0.1:8000",
        flags=("-b",),
        metavar="ADDRESS",
    ),
    _bind("uds", Kind.PATH, "A Unix socket."),
    _bind("fd", Kind.COUNT, "An inherited descriptor of a listening socket."),
    _bind(
        "bind_early", Kind.BOOLEAN, "Listen before the steps run.", shown_default="on Heroku and Cloud Run", pair=True
    ),
    _server(
        "server", Kind.TEXT, "What serves.", shown_default="gunicorn; uvicorn with --reload", metavar="gunicorn|uvicorn"
    ),
    _server(
        "worker_class", Kind.TEXT, "gunicorn's workers.", shown_default="uvicorn", flags=("-k",), metavar="uvicorn|asgi"
    ),
    _server("workers", Kind.WORKERS, "How many workers.", default="auto", flags=("-w",), metavar="N|auto"),
    _server("max_workers", Kind.COUNT, "The most that `auto` gives.", least=1),
    _server(
        "workers_per_core",
        Kind.NUMBER,
        "What `auto` takes for each CPU; when given, 2 in all at least.",
        shown_default="1",
    ),
    _server("plain", Kind.BOOLEAN, "The bare server after the steps.", default=False),
    _server("preload", Kind.BOOLEAN, "Import, then fork.", default=False, pair=True),
    _server("reload", Kind.BOOLEAN, "For development.", default=False, pair=True),
    _server("reload_dir", Kind.TEXTS, "What to watch; may be repeated.", default=(), metavar="FOLDER"),
    _monitor("health_bind", Kind.TEXTS, "HOST:PORT for probes; may be repeated.", default=(), metavar="ADDRESS"),
    _monitor("health_details", Kind.BOOLEAN, "Say there why a check fails.", default=False),
    _monitor("ready_workers", Kind.SHARE, "So many ready workers make the server ready.", default="1", metavar="K|P%"),
    _monitor("health_http", Kind.TEXT, "Ask the application, too: a path that has to answer 2xx.", metavar="PATH"),
    _monitor(
        "health_worker",
        Kind.TEXT,
        "Called in each worker: ready as long as it does not raise.",
        metavar="MODULE:FUNCTION",
    ),
    _monitor("metrics", Kind.BOOLEAN, "Serve /metrics where probes are served.", default=False),
    _monitor("metrics_by_status", Kind.BOOLEAN, "Count answers by the class of their status, too.", default=False),
    _monitor(
        "runtime_dir", Kind.PATH, "Where the management socket is.", shown_default="a private folder that is found"
    ),
    _monitor("no_monitor", Kind.BOOLEAN, "Do without health, status and metrics.", default=False),
    _memory(
        "memory",
        Kind.MEMORY,
        "The budget: a share of the limit, or a size. While the pool runs, too.",
        shown_default="80%; 50% of a machine without a limit",
        metavar="80%|SIZE",
    ),
    _memory("worker_memory_estimate", Kind.SIZE, "What one worker takes.", shown_default="256MiB"),
    _memory("allow_overcommit", Kind.BOOLEAN, "Start one worker where none fits.", default=False),
    _memory("worker_memory_limit", Kind.SIZE, "Replace a worker that has more memory for itself than this."),
    _prestart(
        "prestart",
        Kind.WORD,
        "Do the steps; wait for somebody else; fail if they are not done; nothing.",
        default="run",
        words=("run", "wait", "check", "off"),
    ),
    _prestart("yes", Kind.BOOLEAN, "Ask nothing on a terminal.", default=False),
    _prestart(
        "lock",
        Kind.TEXT,
        "Where the lock is that the steps run under; auto: in the database that is migrated.",
        default="auto",
        metavar="auto|file[:PATH]|URL",
    ),
    _prestart("lock_timeout", Kind.DURATION, "How long to wait for it.", default=900.0),
    _prestart(
        "lock_expiry",
        Kind.DURATION,
        "A holder that is cut off loses it after so long.",
        default=30.0,
        least=7,  # launcher.locks.lease: a step may need 5 s to be killed, and both sides some time to notice
        most=24 * 3600,
    ),
    _prestart(
        "namespace",
        Kind.TEXT,
        "Part of the lock's and the ledger's name; of the ledger's alone with file:PATH.",
        metavar="NAME",
    ),
    _prestart(
        "ledger_table",
        Kind.TABLE,
        "The table that records what has been done.",
        default="asgi_launcher_ledger",
        metavar="[SCHEMA.]TABLE",
    ),
    _prestart(
        "orphans",
        Kind.WORD,
        "Wait for statements that a dead holder left running, or end them.",
        default="wait",
        words=("wait", "terminate"),
    ),
    _prestart(
        "release",
        Kind.TEXT,
        "What `once_per = release` goes by.",
        shown_default="the platform's, else a hash of the source",
        metavar="ID",
    ),
    _prestart(
        "on_unknown_revision",
        Kind.WORD,
        "The database is ahead of the code.",
        default="refuse",
        words=("refuse", "start"),
    ),
    _life(
        "worker_timeout",
        Kind.DURATION,
        "A worker silent for so long is replaced; 0: none is.",
        shown_default="30s; none where uvicorn is one process",
        flags=("-t",),
        aliases=(Alias(("--timeout",)),),
    ),
    _life(
        "graceful_timeout",
        Kind.DURATION,
        "How long requests may finish after the signal to stop.",
        shown_default="fits the platform",
        aliases=(Alias(("--timeout-graceful-shutdown",)),),
    ),
    _life(
        "max_requests",
        Kind.COUNT,
        "Replace a worker after so many requests.",
        aliases=(Alias(("--limit-max-requests",)),),
    ),
    _life(
        "max_requests_jitter",
        Kind.COUNT,
        "At random up to so many more.",
        aliases=(Alias(("--limit-max-requests-jitter",)),),
    ),
    _life(
        "startup_timeout",
        Kind.DURATION,
        "How long import and lifespan start of a worker may take.",
        shown_default="2m",
        least=1,
    ),
    _life(
        "drain_delay",
        Kind.DURATION,
        "How long to go on accepting after the signal to stop, not ready any more.",
        shown_default="5s in Kubernetes, else 0s",
    ),
    _life("max_worker_lifetime", Kind.DURATION, "Replace a worker of this age.", least=1),
    _life(
        "restart_intensity",
        Kind.COUNT,
        "Unexplained deaths of ready workers within 60 s after which the pool gives up.",
        shown_default="workers, at least 3",
        least=1,
    ),
    _log(
        "log_format",
        Kind.WORD,
        "How lines look; auto: console on a terminal.",
        default="auto",
        words=("auto", "console", "json"),
    ),
    _log(
        "log_level",
        Kind.WORD,
        "The least that is told.",
        default="info",
        words=LOG_LEVELS,
        aliases=(Alias(("--verbose", "-v"), value="debug", help="The same as --log-level debug."),),
    ),
    _log(
        "access_log",
        Kind.FILE_OR_BOOLEAN,
        "One line a request; a file's name elsewhere than on the command line.",
        default=True,
        pair=True,
        aliases=(Alias(("--access-logfile",)),),
    ),
    _log(
        "access_log_exclude",
        Kind.TEXTS,
        "A path without a line, or a prefix that ends with `*`; may be repeated.",
        default=(),
        metavar="PATH",
    ),
    _log(
        "error_log",
        Kind.FILE_OR_BOOLEAN,
        "The server's own messages; a file's name elsewhere than on the command line.",
        default=True,
        pair=True,
        aliases=(Alias(("--error-logfile", "--log-file")),),
    ),
    _http("forwarded_allow_ips", Kind.TEXT, "Whose proxy headers count.", metavar="IPS"),
    _http("proxy_headers", Kind.BOOLEAN, "Whether proxy headers count.", pair=True),
    _http("root_path", Kind.TEXT, "The path a proxy takes away.", metavar="PATH"),
    _http(
        "keep_alive", Kind.DURATION, "How long an idle connection stays.", aliases=(Alias(("--timeout-keep-alive",)),)
    ),
    _http("ssl_certfile", Kind.PATH, "TLS certificate.", aliases=(Alias(("--certfile",)),)),
    _http("ssl_keyfile", Kind.PATH, "TLS key.", aliases=(Alias(("--keyfile",)),)),
    _files(
        "config",
        Kind.PATH,
        "FILE.toml: launcher's settings; anything else: gunicorn's configuration, also python:MODULE.",
        shown_default="launcher.toml, [tool.launcher]; gunicorn.conf.py",
        flags=("-c",),
    ),
    _files(
        "crash_dir",
        Kind.PATH,
        "Where crash reports are kept; a volume's outlive the container.",
        shown_default="a private folder that is found",
        metavar="FOLDER",
    ),
    _files(
        "termination_log",
        Kind.PATH,
        "Where the platform reads why the container ended.",
        shown_default="/dev/termination-log if it is there",
    ),
)

BY_NAME: Mapping[str, Option] = MappingProxyType({option.name: option for option in TABLE})
ALIASES: Mapping[str, tuple[Option, Alias]] = MappingProxyType(
    {alias.key: (option, alias) for option in TABLE for alias in option.aliases}
)
