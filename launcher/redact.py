"""What must not be seen?

URLs carry passwords, and URLs are printed: by steps, drivers, errors and plans. Everything that leaves the process as
text goes through here. In doubt too much is masked: people write `@`, `/` or a space into a password unencoded.
"""

from __future__ import annotations

import re

MASK = "***"
_PORT = r"\d{1,5}(?:[/?#,;)\]}\s'\"]|\.\s|\.?$)"  # after a host and not after a user
# Up to the last `@` of the word; what cannot be a port may go on behind spaces (SQLAlchemy writes them as they are).
# In addresses of the web, where a password has no `/` (RFC 3986 §3.2.1), a port is taken as one.
_USER = r"(?!\[)(?:(?!@\[[0-9a-f:.]+(?:%[\w.%\-]+)?\])[^\s/:'\"])*"  # not a host of IPv6, nor a user before one
_USERINFO = re.compile(
    rf"(?P<head>(?<![\w+.\-])(?!(?:http|ws)s?://[^\s/:'\"]*:{_PORT})[a-z][\w+.\-]*://{_USER})"
    rf":(?:[^\s'\"]*@|(?!{_PORT})[^\n@]*@(?:[^\s'\"]*@)?)",
    re.IGNORECASE | re.ASCII,
)
# Of what was meant as a URL: `scheme:user:password@host`. Not of IPv6 in brackets.
_BARE = re.compile(
    r"(?P<head>(?<![\w+.\-:/@])(?![0-9a-f:.]+(?:%[\w.%\-]+)?\])[a-z][\w+.\-]*:/?[^\s/:@'\"]*):(?!//)[^\s'\"]*@",
    re.IGNORECASE | re.ASCII,
)
_NAME = r"(?:password|passwd|passphrase|secret|token|credentials?|(?:api|access|private|secret)[_-]?key)"
_PARAMETER = re.compile(
    rf"(?P<head>(?:{_NAME}|\bpwd|(?<=%3B)pwd)\s*(?:=|%3D)\s*)(?P<value>'[^']*'|\"[^\"]*\"|(?:(?!%3B|%26)[^\s&'\"])+)",
    re.IGNORECASE,
)
# What people say of a password and nobody takes for one.
_PROSE = (
    r"(?!(?:is|was|are|were|must|may|can|cannot|should|has|have|not|no|field|missing|required|invalid|incorrect|wrong"
    r"|expired|expected)(?:[.,;]?\s|[.,;]?$))"
)
# To the closing quote, which stays, so that JSON stays JSON (inside of JSON it is `\"`); without one to the next space.
_COLON = r"[ \t]*:(?!//)[ \t]*"
_QUOTE = r"b?(?P<quote>\\*['\"])?"
_VALUE = r"(?(quote)(?:(?!(?P=quote))(?:\\.|[^\n]))+|[^\s'\"]+)"
_ENTRY = re.compile(
    rf"(?P<head>(?:{_NAME}|\bpwd)\\*['\"]?{_COLON}{_QUOTE})(?(quote)|{_PROSE}){_VALUE}",
    re.IGNORECASE,
)
# `Authorization: Basic X`, as a header, in JSON, and in the pairs of bytes of an ASGI scope.
_AUTHORIZATION = re.compile(
    rf"(?P<head>authorization\\*['\"]?[ \t]*(?:[:=]|(?<=['\"]),)[ \t]*{_QUOTE}(?:[a-z][\w-]*[ \t]+)?){_VALUE}",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Return `text` with the passwords of URLs (`scheme://user:***@host`), of pairs and of headers masked.

    Also where the `//` was forgotten. Pairs: `password=...`, `password: ...`, `"password": "..."`. Headers:
    `Authorization: Bearer ...`.
    """
    if "://" in text:
        text = _USERINFO.sub(rf"\g<head>:{MASK}@", text)
    if "@" in text:
        text = _BARE.sub(rf"\g<head>:{MASK}@", text)
    if "authorization" in text.lower():
        text = _AUTHORIZATION.sub(rf"\g<head>{MASK}", text)
    if ":" in text:
        text = _ENTRY.sub(rf"\g<head>{MASK}", text)
    return _PARAMETER.sub(rf"\g<head>{MASK}", text) if "=" in text or "%3" in text else text
