"""Keys that issuers sign with: a JWK Set (RFC 7517) read into what signatures are verified with.

    keys = KeySet.parse(document)
    key = keys.find("2026-01", "RS256")

Only public keys for signatures are taken. Others are left out, not refused: issuers publish what others need, too.
What is known of a key decides what it may verify, never what a token says of itself (RFC 8725, section 3.1).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Protocol, Self

ALGORITHMS: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("EC", "secp256k1"): ("ES256K",),
    ("OKP", "Ed25519"): ("EdDSA",),
    ("OKP", "Ed448"): ("EdDSA",),
}
"""Algorithms each type of key, and curve, can verify. No shared secret is among them, and no `none`."""

KNOWN_ALGORITHMS: Final = frozenset(name for names in ALGORITHMS.values() for name in names)

_PUBLIC: Final = ("kty", "n", "e", "crv", "x", "y")
_LEAST_RSA_BITS: Final = 2_048
_MOST_KEYS: Final = 100
_LONGEST_KID: Final = 255


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One public key and the algorithms it may verify."""

    kid: str
    algorithms: frozenset[str]
    key: Any


class KeySet:
    """Keys by id. Two of the same content are equal."""

    def __init__(self, keys: Iterable[SigningKey], digest: bytes = b"") -> None:
        self._keys = tuple(keys)
        self._digest = digest

    def __len__(self) -> int:
        return len(self._keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and bool(self._digest) and self._digest == other._digest

    def __hash__(self) -> int:
        return hash(self._digest)

    def find(self, kid: str | None, algorithm: str) -> SigningKey | None:
        """The key a token asks for; without a `kid` the only one there is for its algorithm."""
        fitting = [each for each in self._keys if algorithm in each.algorithms and kid in {None, each.kid}]
        return fitting[0] if len(fitting) == 1 else None

    @classmethod
    def parse(cls, document: Any) -> Self:
        """Read a JWK Set. Raises ValueError when it is none, or holds no key that could verify anything."""
        listed = document.get("keys") if isinstance(document, Mapping) else None
        if not isinstance(listed, list):
            raise ValueError("it is no JWK Set")  # noqa: TRY004 - a document is wrong, not a call
        found = [key for entry in listed[:_MOST_KEYS] if (key := _signing_key(entry)) is not None]
        if not found:
            raise ValueError("it holds no public key for signatures")
        return cls(found, sha256(json.dumps(listed, sort_keys=True).encode()).digest())


class Keys(Protocol):
    """Where an issuer's keys come from: `Jwks` fetches them, `FixedKeys` has them."""

    def current(self) -> KeySet | None:
        """The keys to be used now, None when there are none (any more)."""

    def may_refresh(self) -> bool:
        """Whether `refresh` could bring other keys now."""

    async def refresh(self) -> KeySet:
        """Look for newer keys. Raises Unavailable when there are none at all."""

    async def aclose(self) -> None:
        """End what is under way."""


class FixedKeys:
    """Keys that never change, for an issuer without an address."""

    def __init__(self, document: Any) -> None:
        self._keys = KeySet.parse(document)

    def current(self) -> KeySet:
        """The keys."""
        return self._keys

    def may_refresh(self) -> bool:
        """No."""
        return False

    async def refresh(self) -> KeySet:
        """The same keys."""
        return self._keys

    async def aclose(self) -> None:
        """Nothing is under way."""


def _signing_key(entry: Any) -> SigningKey | None:
    if not isinstance(entry, Mapping) or entry.get("use", "sig") != "sig":
        return None
    operations = entry.get("key_ops")
    if isinstance(operations, list) and "verify" not in operations:
        return None
    kty, crv, kid = entry.get("kty"), entry.get("crv", ""), entry.get("kid", "")
    if not all(isinstance(each, str) for each in (kty, crv, kid)) or len(kid) > _LONGEST_KID:
        return None
    possible = ALGORITHMS.get((str(kty), "" if kty == "RSA" else crv), ())
    algorithms = frozenset(name for name in possible if entry.get("alg", name) == name)
    key = _public_key(entry, str(kty)) if algorithms else None
    return None if key is None else SigningKey(kid, algorithms, key)


def _public_key(entry: Mapping[str, Any], kty: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
    from jwt.exceptions import PyJWTError

    # A private part that was published by mistake is not read.
    public = {name: entry[name] for name in _PUBLIC if name in entry}
    kinds: Mapping[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}
    try:
        key: Any = kinds[kty].from_jwk(public)
    except (PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
    return None if kty == "RSA" and key.key_size < _LEAST_RSA_BITS else key
