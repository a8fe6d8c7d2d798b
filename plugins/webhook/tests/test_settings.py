"""Is it said which of the settings is wrong, and where?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from launcher_webhook.settings import FILE, SECRET, URL, Webhook, read

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = """
[[webhook]]
url = "https://ops.example/crashes"
secret = "${SIGNS}"
kinds = ["crash", "crash-loop"]
timeout = 2.5

[[webhook]]
url = "$SLACK"

[[webhook]]
url = "http://chat.example:8065/hooks/x"
format = "slack"
timeout = "3s"
"""


def written(folder: Path, text: str) -> Path:
    """Write the file; return its folder."""
    (folder / FILE).write_text(text, encoding="utf-8")
    return folder


def test_everything_can_be_written(tmp_path: Path) -> None:
    """In the file, with variables of the environment; what is not said is the usual."""
    environ = {"SIGNS": "geheim", "SLACK": "https://hooks.slack.com/services/T/B/geheim"}
    first, second, third = read(written(tmp_path, EVERYTHING), environ)

    assert ("json", "geheim", frozenset({"crash", "crash-loop"}), 2.5) == (
        first.format,
        first.secret,
        first.kinds,
        first.timeout_s,
    )
    assert ("slack", "", frozenset(), 5.0) == (second.format, second.secret, second.kinds, second.timeout_s)
    assert ("slack", 3.0) == (third.format, third.timeout_s)


def test_the_environment_and_the_file(tmp_path: Path) -> None:
    """Both are used, and each has its place, which shows neither a path nor a secret."""
    environ = {URL: " https://a.example/geheim, https://hooks.slack.com/services/geheim ,", SECRET: "geheim"}
    webhooks = read(written(tmp_path, '[[webhook]]\nurl = "http://user:geheim@c.example"'), environ)

    assert [
        "LAUNCHER_WEBHOOK_URL, number 1 (a.example)",
        "LAUNCHER_WEBHOOK_URL, number 2 (hooks.slack.com)",
        "launcher-webhook.toml, webhook 1 (c.example)",
    ] == [str(webhook) for webhook in webhooks]
    assert ["json", "slack", "json"] == [webhook.format for webhook in webhooks]
    assert ["geheim", "geheim", ""] == [webhook.secret for webhook in webhooks]
    assert "geheim" not in repr(webhooks)


def test_nothing_is_set(tmp_path: Path) -> None:
    """Then there are no receivers."""
    nothing: tuple[Webhook, ...] = ()

    assert nothing == read(tmp_path, {URL: " "})


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("webhook = 1", "nothing in it but"),
        ("[other]", "nothing in it but"),
        ("[[webhook]\n", "launcher-webhook.toml: "),
        ("[[webhook]]\nsecret = 'geheim'", "webhook 1: url: missing"),
        ("[[webhook]]\nurl = 'http://a'\n[[webhook]]\nurl = 'ftp://geheim'", "webhook 2: url: not an address"),
        ("[[webhook]]\nurl = 'http://a:geheim/'", "url: not an address"),
        ("[[webhook]]\nurl = 'http://a/ge heim'", "url: not an address"),
        ("[[webhook]]\nurl = 1", "url: not a text, but int"),
        ("[[webhook]]\nurl = '$NOT_SET'", "url: the environment variable NOT_SET is not set"),
        ("[[webhook]]\nurl = 'http://a'\nsecret = '$BLANK'", "secret: the environment variable BLANK is not set"),
        ("[[webhook]]\nurl = 'http://a'\nsecret = ['geheim']", "secret: not a text, but list"),
        ("[[webhook]]\nurl = 'http://a'\nformat = 'xml'", "format: 'xml' is neither 'json' nor 'slack'"),
        ("[[webhook]]\nurl = 'http://a'\nkinds = 'crash'", "kinds: 'crash' is no list"),
        ("[[webhook]]\nurl = 'http://a'\nkinds = ['crash', 'crush']", "kinds: there is no 'crush'"),
        ("[[webhook]]\nurl = 'http://a'\ntimeout = 60", "timeout: 60 is not from 0.1 to 8 seconds"),
        ("[[webhook]]\nurl = 'http://a'\ntimeout = true", "timeout: True is not from"),
        ("[[webhook]]\nurl = 'http://a'\ntimeout = 'soon'", "timeout: 'soon' is not a duration"),
        ("[[webhook]]\nurl = 'http://a'\ntiemout = 1", "unknown key 'tiemout'"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, because: str) -> None:
    """The file, the number of the webhook, the key, and what is wrong with it; never a URL or a secret."""
    with pytest.raises(ValueError, match=r"^launcher-webhook\.toml") as caught:
        read(written(tmp_path, text), {"BLANK": " "})

    assert because in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_mistake_in_the_environment(tmp_path: Path) -> None:
    """The variable is named, and which of its URLs it is."""
    with pytest.raises(ValueError, match=r"^LAUNCHER_WEBHOOK_URL, number 2: url: not an address"):
        read(tmp_path, {URL: "http://a, geheim"})
