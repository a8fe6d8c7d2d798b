"""Does a password ever get through, and does the rest stay readable?"""

from __future__ import annotations

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from launcher.redact import redact

SPECIAL = "@:/?#%+=&;,.!$*()[]{}~^|<>- "
# Marked, so that a match in host or database is no accident.
passwords = st.text(alphabet="aZ9" + SPECIAL, max_size=30).map(lambda text: f"S3kr{text}t!")
written = passwords.map(lambda text: text.replace(" ", "").replace("&", ""))
before = st.sampled_from(["", "could not connect to ", "url='", '{"url": "', "see http://h:8000 or "])
after = st.sampled_from(["", " refused", "'", '"}', ", giving up (x@y)"])
drivers = st.sampled_from(["postgresql", "postgresql+asyncpg", "mysql+pymysql", "redis", "amqp", "https"])


@given(passwords, drivers, before, after)
def test_no_password_of_sqlalchemy_gets_through(password: str, driver: str, before: str, after: str) -> None:
    """As SQLAlchemy writes a URL, with any characters in the password, nothing of it is seen and the host is."""
    url = sqlalchemy.URL.create(driver, "app", password, "db.example", 5432, "orders")
    text = redact(before + url.render_as_string(hide_password=False) + after)

    assert "S3kr" not in text
    assert before + url.render_as_string(hide_password=True) + after == text


@given(written, drivers, st.sampled_from(["app", "", "app@server", "a#b"]), before, after)
def test_no_password_as_people_write_it_gets_through(
    password: str, driver: str, user: str, before: str, after: str
) -> None:
    """A password that was not encoded, `@`, `:`, `/`, `?`, `#` and `%` included, is masked to its end."""
    text = redact(f"{before}{driver}://{user}:{password}@db.example/orders{after}")

    assert f"{driver}://{user}:***@db.example/orders{after}" == text.removeprefix(before)


@given(passwords, st.sampled_from(["password", "DB_PASSWORD", "sslpassword", "PWD", "client_secret", "AUTH_TOKEN"]))
def test_no_quoted_parameter_gets_through(password: str, name: str) -> None:
    """A quoted value of a telling name is masked to the closing quote."""
    assert f"connect({name}=***, port=1)" == redact(f"connect({name}='{password}', port=1)")


@given(written, st.sampled_from(["password", "token", "api_key", "SECRET_KEY", "aws_secret_access_key", "passwd"]))
def test_no_parameter_gets_through(password: str, name: str) -> None:
    """A plain value of a telling name is masked up to the next parameter or the next word."""
    assert f"?a=1&{name}=***&b=2 end" == redact(f"?a=1&{name}={password}&b=2 end")


def test_encoded_odbc_strings_are_masked() -> None:
    """A connection string inside of a URL is masked too."""
    assert "x:///?odbc_connect=UID%3Dme%3BPWD%3D***%3BDATABASE%3Dd" == redact(
        "x:///?odbc_connect=UID%3Dme%3BPWD%3Dsecr.t%3BDATABASE%3Dd"
    )


@pytest.mark.parametrize(
    "text",
    [
        "12:30:01 mail ops@corp.example: done",
        "ratio 3:4 @ noon",
        "Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)",
        "http://localhost:8000/users/@me",
        "http://127.0.0.1:8000. Ask ops@corp",
        "postgresql://postgres@127.0.0.1:5432/orders",
        "redis://cache:6379/0 was stopped by ops@corp",
        "tcp://[::1]:80 is down, mail ops@corp",
        "'tcp://cache:6379', said ops@corp",
        "sqlite:////srv/a.db and bob@x:y",
        "launcher.step_output step=seed tokens=5 total=7",
        "https://example.org/a?next=b:c@d",
        "git@github.com:owner/name.git",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """What is no password stays as it is, with its colons and at signs."""
    assert text == redact(text)


def test_several_urls_in_one_line() -> None:
    """Each one is masked, and what is between them is readable."""
    text = redact("['postgresql://a:b@c', 'redis://d:e@f'] instead of amqp://u:pw@h/v")

    assert "['postgresql://a:***@c', 'redis://d:***@f'] instead of amqp://u:***@h/v" == text


@given(st.text(alphabet="ab:/@ =p", max_size=60))
def test_masking_twice_is_masking_once(text: str) -> None:
    """What has been masked is not changed by another look."""
    once = redact(f"postgresql://{text}")

    assert once == redact(once)


@pytest.mark.parametrize("part", ["x://:", "a.b-", "b ", "password = ", "://@", "%3D"])
@pytest.mark.timeout(5)
def test_a_long_line_takes_no_time(part: str) -> None:
    """A line as long as a step may write (16 KiB) is looked at in less than the patience of a person."""
    redact(("postgresql://u:" + part * 16_384)[: 16 * 1024])
