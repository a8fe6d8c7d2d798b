"""Does a password ever get through, and does the rest stay readable?"""

from __future__ import annotations

import time

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st

from launcher.masking import masked, without_secrets
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
        ("{'authorization': ['Bearer S']}", "{'authorization': ['Bearer ***']}"),
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
        ("'token': SecretStr('S')", "'token': SecretStr('***')"),
        ("{'token': u'S'}", "{'token': u'***'}"),
        ("signing_key: S", "signing_key: ***"),
        ("('password', 'S')", "('password', '***')"),
        ("[(b'x-api-key', b'S'), (b'a', b'b')]", "[(b'x-api-key', b'***'), (b'a', b'b')]"),
        ('[["token", "S"], ["a", "b"]]', '[["token", "***"], ["a", "b"]]'),
        ("Key (token)=(S) already exists.", "Key (token)=(***) already exists."),
        ("Key (user, api_key)=(1, S) is not present", "Key (user, api_key)=(***) is not present"),
        ("ALTER ROLE a WITH PASSWORD 'S';", "ALTER ROLE a WITH PASSWORD '***';"),
        ("create user a with password 'S'", "create user a with password '***'"),
        ("CREATE USER a IDENTIFIED BY 'S'", "CREATE USER a IDENTIFIED BY '***'"),
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


JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
FORMS = [  # {} is what opens something
    "MYSQL_PWD={}",
    "PGPASSWORD={}",
    "pass={}",
    "DB_PASS = {}",
    "passwd='{}'",
    "pwd={}",
    "PASS%3D{}",
    "DB_PASS: {}",
    "{{'pass': '{}'}}",
    "--password {}",
    "--password={}",
    "--db-password '{}'",
    "--dbpassword {}",
    "['dump', '--password', '{}', 'db']",
    '["dump","--api-key","{}"]',
    "Cookie: sid={}",
    "Cookie: theme=dark; sid={}",
    'Cookie: sid="{}"',
    "Set-Cookie: sid={}; Path=/; HttpOnly",
    "curl -H 'Cookie: a=b; sid={}' x",
    r'{{"m": "\"Cookie: sid={}\""}}',
    "(b'cookie', b'sid={}')",
    "'HTTP_COOKIE': 'sid={}'",
    "cookie={}",
    "Authorization: Basic {}",
    "Authorization: Bearer {}",
    "https://{}@host/",
    "https://{}:x-oauth-basic@host/",
    "git+https://{}@host/a.git",
    "https://hooks.slack.com/services/T0/B0/{}",
    "aws_secret_access_key={}",
    "AKIAIOSFODNN7EXAMPLE aws_secret_access_key = {}",
    "Bearer eyJ{}",
    "Bearer 0123456789{}",
    "eyJhbGciOiJIUzI1NiJ9.eyJ{}.c2lnbmF0dXJl",
    "/pay?card={}",
    "password='{}",
    "password=Secret('{}')",
    "('token', b'{}')",
    "'token': SecretStr('{}')",
    "SESSION_KEY={}",
    "ghp_0123456789{}",
    "WITH PASSWORD '{}'",
]
tokens = st.text(alphabet="aZ9_-", max_size=40).map(lambda text: f"S3kr{text}t")
beside = st.sampled_from(["", "it said ", "2026-01-01 INFO app: ", "{", "(", "pass: 3 tests\n", "sent "])


@given(tokens, st.lists(st.sampled_from(FORMS), min_size=1, max_size=3), beside, st.sampled_from(["\n", " ", ", "]))
def test_no_token_gets_through(token: str, forms: list[str], before: str, between: str) -> None:
    """In each form in which they are usual nothing of it is seen, and masking again changes nothing."""
    text = before + between.join(form.format(token) for form in forms)
    shown = masked(text)

    assert "S3kr" not in shown
    assert before.strip(" {(") in shown
    assert shown == masked(shown)


@given(st.text())
def test_anything_can_be_masked(text: str) -> None:
    """Nothing raises, lone surrogates included, and what comes out can be written."""
    assert masked(text + "\udc80://@?=: token=--eyJ bearer cookie").encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MYSQL_PWD=x mysqldump", "MYSQL_PWD=*** mysqldump"),
        ("connect(passwd='x', port=1)", "connect(passwd=***, port=1)"),
        ("connect(password=x, port=1)", "connect(password=***, port=1)"),
        ("    db = connect(user, pass_=1, password=PW)", "    db = connect(user, pass_=1, password=***)"),
        ("dump --password x db", "dump --password *** db"),
        ("['dump', '--password', 'x y', 'db']", "['dump', '--password', '***', 'db']"),
        ("Cookie: a=b; c=d\nHost: x", "Cookie: ***\nHost: x"),
        ("curl -H 'Cookie: a=b; c=\"d\"' http://h/", "curl -H 'Cookie: ***' http://h/"),
        ("[(b'cookie', b'a=b'), (b'host', b'x')]", "[(b'cookie', b'***'), (b'host', b'x')]"),
        ('{"Set-Cookie": "a=b; Path=/", "n": 1}', '{"Set-Cookie": "***", "n": 1}'),
        (f"got Bearer {JWT}, sorry", "got Bearer ***, sorry"),
        (f"next=%3D{JWT}&a", "next=%3D***&a"),
        (f"jwt '{JWT}' expired", "jwt '***' expired"),
        ("(https://tok@host/a)", "(https://***@host/a)"),
        ("https://tok:x-oauth-basic@host/a", "https://***@host/a"),
        ("<https://hooks.slack.com/services/T0/B0/x>", "<https://hooks.slack.com/services/***>"),
        ("key AKIAIOSFODNN7EXAMPLE is disabled", "key *** is disabled"),
        ("connect(password=b'S', port=1)", "connect(password=***, port=1)"),
        ("password=u'S' x", "password=*** x"),
        ('password=r"S" x', "password=*** x"),
        ("password=Secret('S') x", "password=***) x"),
        ("password='S and so on", "password=*** and so on"),
        ('{"u": "/x&token=", "n": 1}', '{"u": "/x&token=", "n": 1}'),
        ("STRIPE_KEY=S x", "STRIPE_KEY=*** x"),
        ("ENCRYPTION_KEY=S x", "ENCRYPTION_KEY=*** x"),
        ("key ghp_0123456789abcdef is", "key *** is"),
        ("key sk_live_0123456789 is", "key *** is"),
        ("key xoxb-123-456-abcdef is", "key *** is"),
        ("key glpat-0123456789-_ab is", "key *** is"),
        ("GET /pay?card=1 HTTP/1.1", "GET /pay?*** HTTP/1.1"),
    ],
)
def test_only_the_secret_is_masked(text: str, shown: str) -> None:
    """What is beside it stays: other arguments, closing quotes and brackets, the rest of a line of code."""
    assert shown == masked(text)


@pytest.mark.parametrize(
    "text",
    [
        "password is wrong",
        "pass: 3 tests",
        "tests pass = 3, bypass=1, compass=north",
        "use --password or --token, the --password option",
        "--password-file /run/secrets/db --user me",
        "one-time-token pricing, multi-token prediction",
        "session cookie: expired",
        "cookies, as browsers keep them",
        "Bearer authentication failed: bearer token is missing",
        "git@github.com:owner/name.git",
        "ssh://git@host/x and postgresql://postgres@host/orders",
        "http://localhost:8000/users/@me",
        "see https://example.org,ops@corp",
        "keyJournalEntries, ASIA and AKIA",
        "https://hooks.slack.com/services/ is their address",
        '  File "/app/main.py", line 7, in connect\n    session = connect(host, token_of(user))',
        "what is it? a/b",
        "primary_key=True, cache_key='a'",
        "one of ['user', 'password', 'host']",
        "the password 'must be longer', identified by name",
        "Key (id)=(1) already exists",
        "task_runner, the ghp_ of GitHub",
    ],
)
def test_what_people_and_programs_say_stays(text: str) -> None:
    """Words about passwords, users of what is no web page, and code."""
    assert text == masked(text) == without_secrets(text)


def test_queries_stay_where_they_are_wanted() -> None:
    """An access log keeps them, but for what opens something."""
    assert "/a?page=2&token=***" == without_secrets("/a?page=2&token=x")


LONG = [
    "a://",
    "a://a:",
    "a://x:80/",
    "a:b:,",
    "1:%3B",
    "://@",
    "@[a:",
    "password='",
    'token: "',
    "token: \\",
    "cookie: a",
]
LONG += ["--a-", "--password ", "eyJ-", "bearer ", "/?a ", "key", "http://a:", "xx"]
LONG += ["('token', '", "token)=(", "token a ", "password=a(", "PASSWORD '", "ghp_", "xoxb-", "password=\"'", "A_KEY"]


@pytest.mark.parametrize("part", LONG)
@pytest.mark.parametrize(
    "around", [("", ""), ("x://h:80/", " @"), ('token: "', "\n@"), ("", "@?/://= cookie bearer --")]
)
def test_time_is_linear(part: str, around: tuple[str, str]) -> None:
    """200 kB of what looks like something all the way: half a second for 20 ms, where a square would take minutes."""
    text = part.join(around) + part * (200_000 // len(part))
    before, after = around
    began = time.process_time()
    masked(before + part * (200_000 // len(part)) + after)
    masked(text)

    assert 0.5 > time.process_time() - began
