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


@given(written, st.sampled_from(["postgresql:", "mysql+pymysql:/", "word:"]), before, after)
def test_no_password_of_a_url_without_slashes_gets_through(password: str, head: str, before: str, after: str) -> None:
    """Somebody typed `--lock postgresql:app:password@host/db`: no URL, and a password all the same."""
    text = redact(f"{before}{head}app:{password}@db.example/orders{after}")

    assert f"{head}app:***@db.example/orders{after}" == text.removeprefix(before)


@given(st.none() | written, st.sampled_from(["[::1]", "[fe80::1%eth0]", "[2001:db8::7]"]), before, after)
def test_hosts_of_ipv6_stay(password: str | None, host: str, before: str, after: str) -> None:
    """Their colons begin no password; one that is there is masked, and nothing else is."""
    given, masked = ("", "") if password is None else (f":{password}", ":***")
    text = redact(f"{before}postgresql://app{given}@{host}:5432/orders{after} postgresql://b@{host}:5432/x")

    assert f"{before}postgresql://app{masked}@{host}:5432/orders{after} postgresql://b@{host}:5432/x" == text


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
        "https://[fe80::1]:8000/?to=b@c, said ops@corp",
        "registry:5000/image:tag@sha256:0a",
        "password: is required",
        "token: Field required [type=missing]",
        "authorization, as the API calls it",
        "credentials:",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    """What is no password stays as it is, with its colons and at signs."""
    assert text == redact(text)


def test_several_urls_in_one_line() -> None:
    """Each one is masked, and what is between them is readable."""
    text = redact("['postgresql://a:b@c', 'redis://d:e@f'] instead of amqp://u:pw@h/v")

    assert "['postgresql://a:***@c', 'redis://d:***@f'] instead of amqp://u:***@h/v" == text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer eyJh.eyJz.x-_ sent", "Authorization: Bearer *** sent"),
        ("authorization: Basic dTpw", "authorization: Basic ***"),
        ("Authorization: dTpw", "Authorization: ***"),
        ('curl -H "Authorization: Bearer abc" x', 'curl -H "Authorization: Bearer ***" x'),
        ("[(b'authorization', b'Bearer abc'), (b'a', b'b')]", "[(b'authorization', b'Bearer ***'), (b'a', b'b')]"),
        ("{'Proxy-Authorization': 'Basic dTpw'}", "{'Proxy-Authorization': 'Basic ***'}"),
    ],
)
def test_headers_are_masked(text: str, masked: str) -> None:
    """What an Authorization header says is masked, however it is written down; its scheme stays."""
    assert masked == redact(text)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password: s3cret", "password: ***"),
        ("password:s3cret!", "password:***"),
        ("DB_PASSWORD: s3cret", "DB_PASSWORD: ***"),
        ("  token: 'a b'  # comment", "  token: '***'  # comment"),
        ('{"password": "a\\"b c", "user": "me"}', '{"password": "***", "user": "me"}'),
        (r'{"m": "{\"api_key\": \"x y\"}"}', r'{"m": "{\"api_key\": \"***\"}"}'),
        ("{'client_secret': b'x', 'id': 1}", "{'client_secret': b'***', 'id': 1}"),
        ("password: not-this-one", "password: ***"),
        ("password: postgresql", "password: ***"),
        ('"password": "open to the end of the line', '"password": "***'),
    ],
)
def test_entries_are_masked(text: str, masked: str) -> None:
    """A telling name with a colon, as in YAML, JSON and logs, has its value masked; JSON stays JSON."""
    assert masked == redact(text)


@given(st.text(alphabet="ab:/@ =p", max_size=60))
def test_masking_twice_is_masking_once(text: str) -> None:
    """What has been masked is not changed by another look."""
    once, bare = redact(f"postgresql://{text}"), redact(text)

    assert once == redact(once)
    assert bare == redact(bare)


@pytest.mark.parametrize(
    "part", ["x://:", "a.b-", "b ", "password = ", "://@", "%3D", "password: ", 'token: "', "authorization: ", ",a:b:"]
)
@pytest.mark.timeout(30)
def test_a_long_line_takes_no_time(part: str) -> None:
    """A line as long as a step may write (16 KiB) is looked at in less than the patience of a person."""
    redact(("postgresql://u:" + part * 16_384)[: 16 * 1024])
    redact("@" + (part * 16_384)[: 16 * 1024])
