"""What must never be shown: secrets in names, in values and inside texts.

`redact` walks any value and returns one that may be logged; `redact_text` cleans one string. Both are
total (they never raise) and idempotent. A name is what marks a secret (`authorization`, `api_key`,
`private_key_pem`); a name which ends in a word such as `_id` or `_file` only talks about one.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"

_SECRET_WORDS: Final = (
    "authorization",
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "cookie",
    "privatekey",
    "apikey",
    "accesskey",
    "signingkey",
    "encryptionkey",
    "ciphertext",
)
_ABOUT: Final = re.compile(
    r"(?:^|[_-])(?:id|ids|name|names|file|path|kind|type|count|total|fingerprint|summary)$", re.IGNORECASE
)
_NOT_LETTERS: Final = re.compile(r"[^a-z0-9]")
_DEEPEST: Final = 12

_SCHEME: Final = re.compile(r"\b(Bearer|Basic|Digest)\s+(?!\*\*\*)[^\s,;\"']+", re.IGNORECASE)
_OWN_TOKEN: Final = re.compile(r"\bhg_[A-Za-z0-9_-]{20,}")
_PEM: Final = re.compile(
    r"(-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----).*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_URL_PASSWORD: Final = re.compile(r"(?P<start>[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:]*):[^\s/]*@")
_ASSIGNMENT: Final = re.compile(
    r"(?P<name>[\w-]*(?:password|passwd|token|secret|api[_-]?key|private[_-]?key|signature))=(?!\*\*\*)[^\s&;,\"']+",
    re.IGNORECASE,
)


def is_secret_name(name: str) -> bool:
    """Whether a value under this name (a header, a key, a setting) must not be shown."""
    if _ABOUT.search(name):
        return False
    plain = _NOT_LETTERS.sub("", name.lower())
    return any(word in plain for word in _SECRET_WORDS)


def redact_text(text: str) -> str:
    """`text` with credentials, private keys and passwords in URLs masked."""
    text = _PEM.sub(rf"\1{MASK}", text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _OWN_TOKEN.sub(MASK, text)
    text = _URL_PASSWORD.sub(rf"\g<start>:{MASK}@", text)
    return _ASSIGNMENT.sub(rf"\g<name>={MASK}", text)


def redact(value: Any) -> Any:
    """A copy of `value` made of JSON types in which everything that looks secret is masked.

    Pairs such as `("authorization", "Bearer x")` count as name and value. Objects of other types become
    their `repr`, masked. What is nested deeper than 12 levels, cycles included, becomes "...".
    """
    return _redact(value, 0)


def _redact(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth >= _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {_text(key): _named(_text(key), item, depth) for key, item in value.items()}
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str | bytes):
        name = _text(value[0])
        return [name, _named(name, value[1], depth)]
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact(item, depth + 1) for item in value]
    return redact_text(_text(value))


def _named(name: str, value: Any, depth: int) -> Any:
    return MASK if value not in (None, "", b"") and is_secret_name(name) else _redact(value, depth + 1)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a broken repr must not break the log line that shows it
        return f"<{type(value).__name__}>"
