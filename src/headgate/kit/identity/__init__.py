"""Identity: who calls, proven by keys, tokens or certificates.

    found = authenticators(api_keys="ci=...", jwks_url="https://issuer.example/jwks.json", issuer=..., audience=...)
    harden(app, authenticators=found)

The controls that use them are pure and live in `headgate.kit.controls`: `identity` asks, `access` decides,
`api_keys` and `certificates` are authenticators. What fetches and verifies is here: `keys`, `jwks`, `jwt`.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from headgate.kit.controls.api_keys import ApiKeys
from headgate.kit.controls.certificates import MtlsAuthenticator, parse_certificate_scopes
from headgate.kit.controls.identity import Authenticator
from headgate.kit.identity.jwks import Jwks
from headgate.kit.identity.jwt import DEFAULT_ALGORITHMS, JwtAuthenticator

if TYPE_CHECKING:
    import httpx

__all__ = ["ApiKeys", "Authenticator", "Jwks", "JwtAuthenticator", "MtlsAuthenticator", "authenticators"]


def authenticators(
    *,
    api_keys: str = "",
    jwks_url: str = "",
    issuer: str = "",
    audience: str = "",
    algorithms: Iterable[str] = DEFAULT_ALGORITHMS,
    leeway: float = 30.0,
    tenant_claim: str = "",
    jwks_ttl: float = 300.0,
    jwks_max_age: float = 86_400.0,
    allow_http: bool = False,
    client: "Callable[[], httpx.AsyncClient] | None" = None,
    certificates: bool = False,
    trust_domains: Iterable[str] = (),
    certificate_scopes: Iterable[str] = (),
    more: Iterable[Authenticator] = (),
) -> tuple[Authenticator, ...]:
    """The authenticators that are configured, in the order they are asked; `more` are one's own.

    Keys come first: they are the cheapest to look up. Certificates come last: what a caller presents in a
    request says more about it than its connection. Raises InvalidArgument, FailedPrecondition (`extra_missing`).
    """
    keys = ApiKeys.parse(api_keys)
    found: list[Authenticator] = [*([keys] if keys else []), *more]
    if jwks_url:
        source = Jwks(jwks_url, ttl=jwks_ttl, max_age=jwks_max_age, allow_http=allow_http, client=client)
        found.append(
            JwtAuthenticator(
                source,
                issuer=issuer,
                audience=audience,
                algorithms=algorithms,
                leeway=leeway,
                tenant_claim=tenant_claim,
            )
        )
    if certificates:
        scopes = parse_certificate_scopes(certificate_scopes)
        found.append(MtlsAuthenticator(trust_domains=trust_domains, scopes=scopes))
    return tuple(found)
