"""What must not be seen?

URLs carry passwords, and URLs are printed: by steps, drivers, errors and plans. Everything that leaves the process as
text goes through here; what an application wrote goes through `launcher.masking`. In doubt too much is masked: people
write `@`, `/` or a space into a password unencoded.

Time is linear, whatever the text: a candidate without an `@` behind it takes the word, or the line, with it (`rest`),
since no other candidate in there has one either.
"""

from __future__ import annotations

import re

MASK = "***"
# Patterns begin with what is seldom, a text or a set that heeds case: only then does `re` skip quickly what is nothing.
_PORT = r"\d{1,5}(?:[/?#,;)\]}\s'\"]|\.\s|\.?$)"  # after a host and not after a user
# Up to the last `@` of the word; what cannot be a port may go on behind spaces (SQLAlchemy writes them as they are).
# In addresses of the web, where a password has no `/` (RFC 3986 §3.2.1), a port is taken as one.
WEB = r"(?:(?<=http://)|(?<=https://)|(?<=ws://)|(?<=wss://))"
_IPV6 = r"[0-9a-fA-F:.]+(?:%[\w.%\-]+)?\]"
_USER = rf"(?!\[)[^\s/:'\"@]*+(?:@(?!\[{_IPV6})[^\s/:'\"@]*+)*+"  # not a host of IPv6, nor a user before one
_URL = rf"(?P<head>://(?<=[\w+.\-]://)(?!(?i:{WEB})[^\s/:'\"]*:{_PORT}){_USER}):"
_SHORT = 24  # characters: looking twice at so few costs less than what is done about a match
_IN_WORD = rf"(?:[^\s'\"]*@|(?P<rest>[^\s'\"]{{{_SHORT},}}))"
_USERINFO = re.compile(_URL + _IN_WORD, re.ASCII)
_WITH_SPACES = re.compile(
    rf"{_URL}(?!{_PORT})(?:[^\n@]*@(?:[^\s'\"]*@)?|(?P<rest>[^\n@]{{{_SHORT},}}))",
    re.ASCII,
)
# Of what was meant as a URL: `scheme:user:password@host`. Not of IPv6 in brackets.
_BARE = re.compile(
    rf"(?P<head>[^\w+.\-:/@](?!(?<=\[){_IPV6})[a-zA-Z][\w+.\-]*+:/?[^\s/:@'\"]*+):(?!//){_IN_WORD}",
    re.ASCII,
)
_NAME = (
    r"[pstcakPSTCAK](?:(?<=K)EY(?<=[A-Z0-9]_KEY)"  # of the environment: `primary_key` says nothing
    r"|(?i:(?<=p)(?:ass(?:word|wd|phrase)|wd|rivate[_-]?key)|(?<=s)ecret(?:[_-]?key)?|(?<=t)oken"
    r"|(?<=c)redentials?|(?<=a)(?:pi|ccess)[_-]?key|(?<=k)ey(?:(?<=signing[_-]key)|(?<=cryption[_-]key)){}))"
)
NAME = _NAME.format("")
_HINTS = ("pass", "pwd", "secret", "token", "credential", "key")  # one is in every name
# `pass=` is a password; what anything else `pass` says is mostly a test.
_BRIEF = (
    r"|(?<=p)ass(?:(?<![a-z0-9]pass)|(?<=(?:db|pg)pass)|(?<=userpass)|(?<=storepass)|(?<=keypass))"
    r"(?:(?==|%3D)|(?<=_pass))"
)
_MASKED = r"\*\*\*(?=[\s&'\",;)\]}]|%3[bB]|%26|$)"
_BRIEF_KEY = r"|(?<=p)ass(?<=[_'\"]pass)"  # or a part of a name
# Before a quote: `b'...'`, `SecretStr('...')`, `['...']`.
_BEFORE = r"(?:[\w.]{0,40}[(\[])?[bBuUrR]{0,2}"
_PARAMETER = re.compile(
    rf"(?P<head>{_NAME.format(_BRIEF)}\s*+(?:==?|%3[Dd])\s*+)"
    rf"(?P<value>{_MASKED}|{_BEFORE}(?:'[^']*+'|\"[^\"]*+\")++(?![^\s&'\",;)\]}}])"
    rf"|{_BEFORE}(?:'(?![,;:)\]}}])[^\s']++'?+|\"(?![,;:)\]}}])[^\s\"]++\"?+)[^\s&'\",;)\]}}]*+"  # it has no end
    r"|[^\s&'\"%]*+(?:%(?!3[Bb]|26)[^\s&'\"%]*+)*+)",
    re.ASCII,
)
# What people say of a password and nobody takes for one.
PROSE = (
    r"(?!(?i:is|was|are|were|must|may|can|cannot|should|has|have|not|no|field|missing|required|invalid|incorrect|wrong"
    r"|expired|expected)(?:[.,;]?\s|[.,;]?$))"
)
# To the closing quote, which stays, so that JSON stays JSON (inside of JSON it is `\"`); without one to the next space.
QUOTE = rf"(?:{_BEFORE}(?P<quote>\\{{0,31}}['\"]))?"
QUOTED = r"(?:[^\\'\"\n]++|(?!(?P=quote))(?:\\.|[^\n]))++"
VALUE = rf"(?P<value>(?(quote){QUOTED}|(?:{_MASKED}|[^\s'\"]+)))"
_ENTRY = re.compile(
    rf"(?P<head>{_NAME.format(_BRIEF_KEY)}\\*['\"]?[ \t]*:(?!//)[ \t]*{QUOTE})(?(quote)|{PROSE}){VALUE}",
    re.ASCII,
)
# `Authorization: Basic X`, as a header, in JSON, and in the pairs of bytes of an ASGI scope.
_AUTHORIZATION = re.compile(
    r"(?P<head>[aA](?i:uthorization)\\*['\"]?[ \t]*(?:[:=]|(?<=['\"]),)[ \t]*"
    rf"{QUOTE}(?:[a-zA-Z][\w-]*[ \t]+)?){VALUE}",
    re.ASCII,
)
# `('password', 'x')`, `(b'x-api-key', b'x')`: two, since a list of names is none.
_PAIR = re.compile(
    rf"(?P<head>[(\[]b?(?P<open>['\"])[\w.\-]{{0,40}}?{NAME}(?P=open),[ \t]*{QUOTE})(?(quote)|(?!))"
    rf"(?P<value>{QUOTED})(?=(?P=quote)[)\]])",
    re.ASCII,
)
# `Key (user, token)=(1, x) already exists`, as PostgreSQL tells it.
_COLUMN = re.compile(
    rf"(?P<head>{NAME}[\w, ]{{0,100}}+\)=\()(?P<quote>(?!))?(?P<value>[^\n]*?)"
    r"(?=\) (?:already|is|conflicts)\b|\)?[.'\"]{0,3}(?:\n|$))",
    re.ASCII,
)
_SQL = re.compile(  # `CREATE USER a PASSWORD 'x'`, `IDENTIFIED BY 'x'`
    r"(?P<head>[pPbBaA](?:(?<=P)ASSWORD|(?i:(?<=p)assword(?<=with password)|(?<=[ba])[ys](?<=identified [ba][ys])))"
    rf"[ \t]+{QUOTE})(?(quote)|(?!))(?P<value>{QUOTED})",
    re.ASCII,
)


def redact(text: str) -> str:
    """Return `text` with the passwords of URLs (`scheme://user:***@host`), of pairs and of headers masked.

    Also where the `//` was forgotten. Pairs: `password=...`, `password: ...`, `"password": "..."`,
    `("password", "...")`, and in SQL `PASSWORD '...'`. Headers: `Authorization: Bearer ...`.
    """
    colon = ":" in text
    if colon and "@" in text:
        if "://" in text:
            text = _WITH_SPACES.sub(_without_password, _USERINFO.sub(_without_password, text))
        text = _BARE.sub(_without_password, f" {text}")[1:]
    equals = "=" in text or "%3" in text
    quoted = "'" in text or '"' in text
    if not (colon or equals or quoted):
        return text
    lower = text.lower()
    if "authorization" in lower:
        text = _AUTHORIZATION.sub(without_value, text)
    if any(hint in lower for hint in _HINTS):
        text = _ENTRY.sub(without_value, text) if colon else text
        text = _PARAMETER.sub(_without_parameter, text) if equals else text
        text = _PAIR.sub(without_value, text) if quoted and "," in text else text
        text = _COLUMN.sub(without_value, text) if ")=(" in text else text
    if quoted and ("password" in lower or "identified" in lower):
        text = _SQL.sub(without_value, text)
    return text


def without_value(found: re.Match[str]) -> str:
    """Return a match with its `value` masked; what closes a list or a call behind an unquoted one stays."""
    head, quote, value = found.group("head", "quote", "value")
    return head + (_hidden(value) if quote is None else MASK)


def _without_parameter(found: re.Match[str]) -> str:
    head, value = found.groups()
    return head + (MASK if "'" in value or '"' in value else _hidden(value))


def _hidden(value: str) -> str:
    return MASK + value[len(value.rstrip(",;)]}")) :] if value else ""


def _without_password(found: re.Match[str]) -> str:
    head, rest = found.groups()
    return found[0] if rest else f"{head}:{MASK}@"
