"""JSON Web Tokens: signature, time, issuer and audience verified; a principal made of what they claim.

    JwtAuthenticator(Jwks("https://issuer.example/jwks.json"), issuer="https://issuer.example", audience="shop")

A token comes as `Authorization: Bearer TOKEN`. Its principal's id is `ISSUER#SUBJECT`; its scopes are those in
`scope` (words), `scp` and `permissions` (words or lists), together.

    Unauthenticated
    ├── token_invalid           malformed, of the wrong type, or the signature does not match
    ├── token_too_long          longer than is looked at
    ├── algorithm_not_allowed   signed in a way that is not accepted
    ├── unknown_key             the issuer has no such key
    ├── token_expired           `exp` has passed
    ├── token_not_yet_valid     `nbf` or `iat` is still to come
    ├── wrong_issuer            `iss` is not the issuer trusted here
    ├── wrong_audience          `aud` does not name this service
    ├── missing_claim           `exp`, `sub` or the tenant's claim is missing or of no use
    └── wrong_binding           it was issued to the holder of another certificate, or bound to something else
    Unavailable
    └── issuer_unavailable      there are no keys to verify it with

No fault tells anything of the token's text. Source: RFC 7519, RFC 8725, RFC 9068, RFC 8705 (`cnf`).
"""

import importlib.util
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unauthenticated
from headgate.kit.controls.identity import AUTHORIZATION
from headgate.kit.controls.principal import Principal
from headgate.kit.identity.keys import KNOWN_ALGORITHMS, Keys, KeySet, SigningKey

DEFAULT_ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
TYPES: Final = frozenset(("", "jwt", "at+jwt", "application/at+jwt"))
"""Values of `typ` that are accepted: logout tokens, DPoP proofs and security events are no credentials."""

_LONGEST_NAME: Final = 255
_LATEST: Final = 1e12


@dataclass(frozen=True, slots=True)
class _Verified:
    """A token that was verified with `keys`; good until `until`, for the holder of the certificate `thumbprint`."""

    principal: Principal
    until: float
    keys: KeySet
    thumbprint: str


class JwtAuthenticator:
    """Recognises tokens of one issuer.

    `issuer` and `audience` are what `iss` must be and `aud` must name, one of several when several are given.
    `leeway` is the difference between clocks, in seconds, that is forgiven; `clock` tells seconds since 1970.
    With `tenant_claim` every token must carry that claim, and it becomes the principal's tenant. Verified tokens
    are remembered, `cache_size` of them, until they expire or the issuer's keys change.
    """

    name = "jwt"
    challenge = "Bearer"
    hint = "send 'Authorization: Bearer TOKEN'"

    def __init__(
        self,
        keys: Keys,
        *,
        issuer: str | Iterable[str],
        audience: str | Iterable[str],
        algorithms: Iterable[str] = DEFAULT_ALGORITHMS,
        leeway: float = 30.0,
        tenant_claim: str = "",
        max_bytes: int = 8_192,
        cache_size: int = 4_096,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if importlib.util.find_spec("jwt") is None or importlib.util.find_spec("cryptography") is None:
            raise FailedPrecondition(
                "tokens cannot be verified without the packages pyjwt and cryptography",
                code="extra_missing",
                hint="pip install 'headgate[jwt]'",
            )
        from jwt import PyJWS

        self._issuers, self._audiences = _names("jwt_issuer", issuer), _names("jwt_audience", audience)
        self._algorithms = _allowed(algorithms)
        self._jws = PyJWS(algorithms=sorted(self._algorithms))
        self._keys = keys
        self._leeway = leeway
        self._tenant_claim = tenant_claim
        self._max_bytes = max_bytes
        self._verified: dict[bytes, _Verified] = {}
        self._most = cache_size
        self._clock = clock

    def __call__(self, call: Call) -> Principal | Awaitable[Principal] | None:
        """Whose token was presented, None for none and for what is no JSON Web Token. Raises Unauthenticated."""
        value = call.headers.get(AUTHORIZATION)
        if value is None or value[:7].lower() != b"bearer ":
            return None
        token = value[7:].strip()
        # "e" is how the Base64 of a JSON object begins.
        if token.count(b".") != 2 or token[:1] != b"e":
            return None
        if len(token) > self._max_bytes:
            raise _wrong(f"the token is longer than {self._max_bytes} bytes", "token_too_long")
        keys = self._keys.current()
        digest = sha256(token).digest()
        known = self._verified.get(digest)
        if known is not None and known.keys is keys:
            return self._accept(call, known)
        kid, algorithm = self._header(token)
        key = keys.find(kid, algorithm) if keys is not None else None
        if keys is not None and key is not None:
            return self._accept(call, self._verify(token, digest, keys, key, algorithm))
        if keys is not None and not self._keys.may_refresh():
            raise _unknown_key()
        return self._refreshed(call, token, digest, kid, algorithm)

    async def aclose(self) -> None:
        """End what fetches keys."""
        await self._keys.aclose()

    async def _refreshed(self, call: Call, token: bytes, digest: bytes, kid: str | None, algorithm: str) -> Principal:
        keys = await self._keys.refresh()
        key = keys.find(kid, algorithm)
        if key is None:
            raise _unknown_key()
        return self._accept(call, self._verify(token, digest, keys, key, algorithm))

    def _accept(self, call: Call, verified: _Verified) -> Principal:
        """The principal, if the token is still good, and the caller its holder."""
        if self._clock() >= verified.until:
            raise _wrong("the token has expired", "token_expired")
        if verified.thumbprint:
            certificate = call.certificate
            if certificate is None or _thumbprint(certificate.fingerprint) != verified.thumbprint:
                raise _wrong("the token was issued to the holder of another certificate", "wrong_binding")
        return verified.principal

    def _header(self, token: bytes) -> tuple[str | None, str]:
        """Key id and algorithm, as the token has them."""
        from jwt.exceptions import PyJWTError

        try:
            header = self._jws.get_unverified_header(token)
        except (PyJWTError, ValueError, RecursionError):
            raise _wrong("the token is malformed", "token_invalid") from None
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise _wrong("the token is signed in a way that is not accepted here", "algorithm_not_allowed")
        if "crit" in header or str(header.get("typ") or "").lower() not in TYPES:
            raise _wrong("the token is of another type", "token_invalid")
        return header.get("kid"), algorithm

    def _verify(self, token: bytes, digest: bytes, keys: KeySet, key: SigningKey, algorithm: str) -> _Verified:
        from jwt.exceptions import PyJWTError

        try:
            payload = self._jws.decode_complete(token, key.key, algorithms=[algorithm])["payload"]
        except (PyJWTError, ValueError, TypeError):
            raise _wrong("the token's signature does not match", "token_invalid") from None
        try:
            claims = json.loads(payload)
        except (ValueError, RecursionError):
            claims = None
        if not isinstance(claims, dict):
            raise _wrong("the token claims nothing", "token_invalid")
        until = self._until(claims)
        self._check_parties(claims)
        verified = _Verified(self._principal(claims), until, keys, _binding(claims))
        if len(self._verified) >= self._most:
            self._verified.pop(next(iter(self._verified)), None)
        self._verified[digest] = verified
        return verified

    def _until(self, claims: Mapping[str, Any]) -> float:
        now = self._clock()
        times = {name: _time(claims, name) for name in ("exp", "nbf", "iat")}
        until, since, issued = times["exp"], times["nbf"], times["iat"]
        if until is None:
            raise _wrong("the token has no 'exp'", "missing_claim")
        if now >= until + self._leeway:
            raise _wrong("the token has expired", "token_expired")
        if any(each is not None and each > now + self._leeway for each in (since, issued)):
            raise _wrong("the token is not valid yet", "token_not_yet_valid")
        return until + self._leeway

    def _check_parties(self, claims: Mapping[str, Any]) -> None:
        issuer, audience = claims.get("iss"), claims.get("aud")
        if not isinstance(issuer, str) or issuer not in self._issuers:
            raise _wrong("the token is of another issuer", "wrong_issuer")
        named = audience if isinstance(audience, list) else [audience]
        if not any(isinstance(each, str) and each in self._audiences for each in named):
            raise _wrong("the token is for another audience", "wrong_audience")

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        subject = _name(claims, "sub")
        tenant = _name(claims, self._tenant_claim) if self._tenant_claim else ""
        named = f"{claims['iss']}#{subject}"
        return Principal(named, "jwt", scopes_of(claims), tenant, roles_of(claims), MappingProxyType(claims))


def scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The scopes a token grants."""
    return frozenset().union(*(_words(claims.get(name)) for name in ("scope", "scp", "permissions")))


def roles_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """The roles a token gives: `roles`, and `realm_access.roles` as Keycloak has them."""
    realm = claims.get("realm_access")
    return _words(claims.get("roles")) | _words(realm.get("roles") if isinstance(realm, dict) else None)


def _words(value: Any) -> frozenset[str]:
    listed = value.split() if isinstance(value, str) else value if isinstance(value, list) else ()
    return frozenset(each for each in listed if isinstance(each, str) and each)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    # A bool is an int to Python; no time is later than one that is not a number, and none needs hundreds of digits.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LATEST:
        raise _wrong(f"the token's '{name}' is no time", "token_invalid")
    return float(value)


def _name(claims: Mapping[str, Any], claim: str) -> str:
    value = claims.get(claim)
    if not isinstance(value, str) or not value or len(value) > _LONGEST_NAME or not value.isprintable():
        raise _wrong(f"the token has no usable '{claim}'", "missing_claim")
    return value


def _binding(claims: Mapping[str, Any]) -> str:
    """Thumbprint of the certificate the token is bound to, "" when it is bound to nothing."""
    confirmation = claims.get("cnf")
    if confirmation is None:
        return ""
    thumbprint = confirmation.get("x5t#S256") if isinstance(confirmation, dict) and len(confirmation) == 1 else None
    if not isinstance(thumbprint, str) or not thumbprint:
        raise _wrong("the token is bound to something that is not verified here", "wrong_binding")
    return thumbprint


def _thumbprint(fingerprint: str) -> str:
    return urlsafe_b64encode(bytes.fromhex(fingerprint)).rstrip(b"=").decode("ascii")


def _names(setting: str, given: str | Iterable[str]) -> frozenset[str]:
    names = frozenset((given,) if isinstance(given, str) else given)
    if not names or "" in names:
        raise InvalidArgument(
            f"{setting} must be set: tokens that the issuer made for others would be accepted",
            code="invalid_jwt_settings",
            hint="take it from the 'iss' and 'aud' of the issuer's tokens",
        )
    return names


def _allowed(algorithms: Iterable[str]) -> frozenset[str]:
    allowed = frozenset(algorithms)
    if not allowed or not allowed <= KNOWN_ALGORITHMS:
        unknown = ", ".join(sorted(each[:20] for each in allowed - KNOWN_ALGORITHMS))
        raise InvalidArgument(
            f"jwt_algorithms: {unknown} cannot be accepted" if unknown else "jwt_algorithms must name at least one",
            code="invalid_jwt_settings",
            hint=f"only signatures by key pairs are: {', '.join(sorted(KNOWN_ALGORITHMS))}",
        )
    return allowed


def _unknown_key() -> Unauthenticated:
    return _wrong("the issuer has no key as the token names it", "unknown_key")


def _wrong(message: str, code: str) -> Unauthenticated:
    return Unauthenticated(message, code=code, hint="get a new token from its issuer")
