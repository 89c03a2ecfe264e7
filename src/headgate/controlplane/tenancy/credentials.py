"""What a token looks like, and what is kept of it."""

import hmac
import re
import secrets
from hashlib import sha256
from typing import Final

_TOKEN: Final = re.compile(r"hg_[A-Za-z0-9_-]{43}")
_BYTES: Final = 32


def mint() -> str:
    """A new token: `hg_` and 43 URL-safe characters, 256 random bits."""
    return f"hg_{secrets.token_urlsafe(_BYTES)}"


def mint_id() -> str:
    """A new identifier of a token, which is no secret: `tok_` and 16 hexadecimal digits."""
    return f"tok_{secrets.token_hex(8)}"


def is_token(text: str) -> bool:
    """Whether the text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def digest(token: str) -> str:
    """What is kept of a token. Plain SHA-256 is enough for 256 random bits."""
    return sha256(token.encode()).hexdigest()


def same(one: str, other: str) -> bool:
    """Compare two digests in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
