"""Who calls: a principal and, over mutual TLS, the certificate that proved it. Plain data, no secrets."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal["anonymous", "api_key", "jwt", "mtls", "token"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """A verified client certificate. `uris` holds SPIFFE ids; `fingerprint` is SHA-256 in lower-case hex."""

    subject: str = ""
    common_name: str = ""
    dns_names: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """A known caller. `id` may be logged and is what limits are charged to; it is never a credential.

    `scopes` are what it may do ("*" is everything); `roles` what it is, for guards that ask for roles; `tenant` whom
    it works for; `extra` is the authenticator's own object, out of reach of logs.
    """

    id: str
    kind: Kind = "token"
    scopes: frozenset[str] = frozenset()
    tenant: str = ""
    roles: frozenset[str] = frozenset()
    extra: Any = field(default=None, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.id)

    def may(self, scope: str) -> bool:
        """Whether it holds `scope`, itself or by a wildcard: `*`, `orders:*`, `*:read`."""
        held = self.scopes
        if scope in held or "*" in held:
            return True
        resource, _, action = scope.rpartition(":")
        return bool(resource) and (f"{resource}:*" in held or f"*:{action}" in held)


ANONYMOUS: Final = Principal("", "anonymous")
