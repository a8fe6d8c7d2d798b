"""What must not be seen of what others wrote?

An application logs what it likes, and a step prints it: beside the passwords that `launcher.redact` knows there are
tokens, in the forms in which they are usual, and queries. Time is linear, as there.
"""

from __future__ import annotations

import functools
import re

from launcher.redact import MASK, NAME, PROSE, QUOTE, QUOTED, VALUE, WEB, redact, without_value

# `--password x`, and in a list of arguments `'--password', 'x'`; not what a sentence says of the option.
_SENTENCE = r"(?!(?i:or|and|to|with|for|from|in|of|option|flag|argument|parameter|instead|needs|takes)(?:[.,;]?\s|$))"
_OPTION = (
    rf"(?P<head>--(?<![\w\-]--)(?:[a-zA-Z0-9]+[_\-]){{0,4}}(?:[a-z]{{0,8}}?{NAME}|(?i:pass))"
    rf"(?:\\*['\"],[ \t]*|[ \t]+){QUOTE})(?(quote)|(?!-){PROSE}{_SENTENCE}){VALUE}"
)
# Any of the cookies may be a session, so all of the header goes: as a header, in quotes together with its name (curl)
# or without it, in JSON, in the pairs of bytes of an ASGI scope. RFC 6265 §4.2.1: `name=value`, else it is a sentence.
_COOKIE = (
    r"(?P<head>[cCsS](?:(?<=(?P<open>['\"]).)|(?<!['\"].))(?i:(?<=c)ookie|(?<=s)et-cookie)\\*['\"]?"
    rf"[ \t]*(?:[:=]|(?<=['\"]),)[ \t]*{QUOTE})"
    rf"(?P<value>(?(quote){QUOTED}|(?:(?=[^\s=;,:'\"]{{1,200}}=)(?(open)(?:(?!\\{{0,3}}(?P=open))[^\n])+|[^\n]+)"
    r"|(?<==)[^\s'\"]+)))"
)
# RFC 6750 §2.1; a word is none: "bearer authentication".
_BEARER = r"([bB](?i:earer)[ \t]+)(?:eyJ[\w.\-]*|(?=[a-zA-Z_.~+/\-]*\d)[\w.~+/\-]{8,}|[\w.~+/\-]{20,})=*"
# `https://token@host`: elsewhere who stands alone there is a user. The password has been masked, and `user` of
# `https://token:x-oauth-basic@host` is none.
_WEB_USER = rf"(://(?i:{WEB}))[^\s/?#'\",<>]*@"
_SLACK = r"(hooks\.slack\.com/(?:services|workflows|triggers)/)[\w/\-]+"
_INSIDE = r"(?:(?<![a-zA-Z0-9]{0})|(?<=%[0-9a-fA-F]{{2}}{0})|(?<=\\[nrt]{0}))"  # no word, but an escape may end there
_AWS_ID = rf"A[KS]IA{_INSIDE.format('A[KS]IA')}[A-Z0-9]{{12,}}"  # 16, says AWS
_JWT = rf"eyJ{_INSIDE.format('eyJ')}[\w\-]{{8,}}(?:\.[\w\-]+)*"  # RFC 7519: base64 of `{"`
# GitHub, GitLab, Stripe, Slack.
_VENDORS = ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "k_live_", "k_test_", "xox")
_VENDOR = rf"{_INSIDE.format('')}(?:gh[pousr]_|github_pat_|glpat-|[sr]k_(?:live|test)_|xox[abeoprs]-)[\w\-]{{10,}}"
_QUERY = r"(/[^\s'\"?/]*\?)[^\s'\"]+"


def masked(text: str) -> str:
    """Return `text` as `without_secrets` does, without the queries of paths and URLs; only what UTF-8 can hold."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    text = without_secrets(text)
    return _compiled(_QUERY).sub(rf"\1{MASK}", text) if "?" in text and "/" in text else text


def without_secrets(text: str) -> str:
    """Return `text` as `redact` does, and with what else opens something masked.

    `--password x`, cookies, `Bearer ...`, JWTs, who logs in to a web address, webhooks of Slack, ids of AWS, and tokens
    that tell whose they are (`ghp_...`).
    """
    text = _without_tokens(text)
    lower = text.lower()
    if "bearer" in lower:
        text = _compiled(_BEARER).sub(rf"\1{MASK}", text)
    if "cookie" in lower:
        text = _compiled(_COOKIE).sub(without_value, text)
    text = redact(text)
    if "--" in text:
        text = _compiled(_OPTION).sub(without_value, text)
    if "@" in text and "://" in text:
        text = _compiled(_WEB_USER).sub(rf"\1{MASK}@", text)
    return text


def _without_tokens(text: str) -> str:
    """Return it without what is a secret wherever it stands."""
    if "slack.com/" in text:
        text = _compiled(_SLACK).sub(rf"\1{MASK}", text)
    if "KIA" in text or "SIA" in text:
        text = _compiled(_AWS_ID).sub(MASK, text)
    if "eyJ" in text:
        text = _compiled(_JWT).sub(MASK, text)
    if any(vendor in text for vendor in _VENDORS):
        text = _compiled(_VENDOR).sub(MASK, text)
    return text


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return it ready for use: at first need, since all of them are 2 ms of every start."""
    return re.compile(pattern, re.ASCII)
