"""API keys: read from a setting, recognised in a call.

    keys = ApiKeys.parse("ci[orders:read|orders:write]=wLq3..., batch=sha256:9f86d0...")
    Identity([keys])

A key comes as `X-API-Key: KEY`, `Authorization: Bearer KEY` or `Authorization: ApiKey KEY`, over gRPC as metadata
of these names. Its principal's id is its name, or the first eight hexadecimal digits of its SHA-256 digest.
To rotate a key, give the old and the new one the same name until nobody uses the old one.

    InvalidArgument
    └── invalid_api_keys   the setting cannot be read; says which entry and why, never the text of it
    Unauthenticated
    └── invalid_api_key    a key was presented that is not known
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import InvalidArgument, Unauthenticated, Violation
from headgate.kit.controls.identity import AUTHORIZATION
from headgate.kit.controls.principal import Principal

SHORTEST: Final = 8
"""Characters a key must have to be accepted at all."""
STRONG: Final = 16
"""Characters below which a key is called weak; one worth the name is made by `secrets.token_urlsafe(32)`."""
LONGEST: Final = 512
EVERYTHING: Final = ("*",)
"""Scopes of a key for which none are written."""

_HASHED: Final = "sha256:"
_HASH_DIGITS: Final = 64
_ENTRY: Final = re.compile(r"(?P<name>[^=\[\]]*)(?:\[(?P<scopes>[^\]]*)\])?=(?P<key>.*)", re.DOTALL)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCOPE: Final = re.compile(r"[A-Za-z0-9*][A-Za-z0-9:._/*-]{0,99}")
_KEY: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One known key: not its text but the SHA-256 digest of it. `weak` tells that the text was short."""

    id: str
    digest: bytes
    scopes: frozenset[str] = frozenset(EVERYTHING)
    weak: bool = False

    def __repr__(self) -> str:
        return f"ApiKey(id={self.id!r}, scopes={sorted(self.scopes)})"

    @classmethod
    def of(cls, key: str, *, name: str = "", scopes: Iterable[str] = EVERYTHING) -> Self:
        """A key of its text or `sha256:HEX`. Raises ValueError, which does not tell the key."""
        if name and not _NAME.fullmatch(name):
            raise ValueError("its name must be 1 to 64 letters, digits and '._-'")
        held = frozenset(scopes)
        if not all(_SCOPE.fullmatch(scope) for scope in held):
            raise ValueError("its scopes must be words such as orders:read, separated by '|'")
        digest = _digest_of(key)
        weak = not key.lower().startswith(_HASHED) and len(key) < STRONG
        return cls(name or digest.hex()[:8], digest, held, weak)


def _digest_of(key: str) -> bytes:
    if key.lower().startswith(_HASHED):
        digits = key[len(_HASHED) :]
        if not _HEX.fullmatch(digits):
            raise ValueError(f"after 'sha256:' there must be the {_HASH_DIGITS} hexadecimal digits of a digest")
        return bytes.fromhex(digits)
    if not key.strip("="):
        raise ValueError("it has no key; one that ends in '=' needs a name before it: NAME=KEY")
    if not _KEY.fullmatch(key):
        raise ValueError("a key must be visible ASCII characters without spaces and commas")
    if not SHORTEST <= len(key) <= LONGEST:
        raise ValueError(f"a key must have {SHORTEST} to {LONGEST} characters")
    return sha256(key.encode("ascii")).digest()


def hashed(key: str) -> str:
    """What to write into the setting in place of `key`, so that reading the setting does not tell it."""
    return _HASHED + sha256(key.encode()).hexdigest()


class ApiKeys:
    """Recognises API keys.

    A presented key is hashed and the digest looked up. How long that takes depends on a digest that the caller
    cannot steer towards a known one without breaking SHA-256, and on the number of keys, but not on how much of
    a key was guessed right; so no comparison with a key's own text is ever made, and its text is not kept.
    """

    name = "api_key"
    challenge = "Bearer"
    schemes = ("bearer", "apikey")
    header = b"x-api-key"
    hint = "send 'X-API-Key: KEY' or 'Authorization: Bearer KEY'"

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self.keys = tuple(keys)
        self._principals = {key.digest: Principal(key.id, "api_key", key.scopes) for key in self.keys}

    def __repr__(self) -> str:
        return f"ApiKeys({list(self.keys)})"

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def weak(self) -> Sequence[str]:
        """Ids of keys that are short enough to be guessed."""
        return tuple(key.id for key in self.keys if key.weak)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `KEY`, `NAME=KEY`, `NAME[scope|scope]=KEY`, each KEY also as `sha256:HEX`, separated by commas.

        Keys without brackets hold every scope, `[]` holds none. Raises InvalidArgument (`invalid_api_keys`).
        """
        keys: list[ApiKey] = []
        violations: list[Violation] = []
        for position, entry in enumerate(text.split(",")):
            if not entry.strip():
                continue
            try:
                keys.append(_new(_read(entry.strip()), keys))
            except ValueError as error:
                violations.append(Violation(f"/{position}", f"API key {position + 1}: {error}"))
        if violations:
            raise InvalidArgument(
                "; ".join(violation.message for violation in violations),
                code="invalid_api_keys",
                hint="write KEY, NAME=KEY, NAME=sha256:HEX or NAME[scope|scope]=KEY, separated by commas",
                violations=violations,
            )
        return cls(keys)

    def find(self, key: bytes) -> Principal | None:
        """Whose key this is."""
        return self._principals.get(sha256(key).digest()) if len(key) <= LONGEST else None

    def __call__(self, call: Call) -> Principal | None:
        """Whose key was presented, None for none, or for a bearer token that may be another authenticator's."""
        headers = call.headers
        presented = headers.get(b"x-api-key")
        if presented is None:
            value = headers.get(AUTHORIZATION)
            if value is None:
                return None
            if value[:7].lower() == b"bearer ":
                return self.find(value[7:].strip())
            if value[:7].lower() != b"apikey ":
                return None
            presented = value[7:]
        principal = self.find(presented.strip())
        if principal is None:
            raise Unauthenticated("the API key is not known here", code="invalid_api_key", hint=self.hint)
        return principal


def _read(entry: str) -> ApiKey:
    match = _ENTRY.fullmatch(entry)
    if match is None:
        return ApiKey.of(entry)
    if not match["name"].strip():
        raise ValueError("there is no name before '='")
    scopes = match["scopes"]
    listed = EVERYTHING if scopes is None else tuple(part.strip() for part in scopes.split("|") if part.strip())
    return ApiKey.of(match["key"].strip(), name=match["name"].strip(), scopes=listed)


def _new(key: ApiKey, others: Iterable[ApiKey]) -> ApiKey:
    if any(other.digest == key.digest for other in others):
        raise ValueError("it is the same key as one before it")
    return key
