"""Knobs of who calls, and who may."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headgate.kit.identity.jwks import Jwks
from headgate.testing.certificates import Authority
from headgate.testing.clock import FakeClock
from tests.kit.identity.conftest import AUDIENCE, ISSUER, Issuer
from tests.kit.knobs import Place, ask, knob, service

KEY = "3hX9vQ2mK7pL0wZsT4bN"
KEYS = {"api_key": f"ci[orders:read]={KEY}"}
BEARER = {"authorization": f"Bearer {KEY}"}
TLS: dict[str, Any] = {"tls_certificate": Path("c.pem"), "tls_key": Path("k.pem")}
MTLS: dict[str, Any] = {**TLS, "tls_client_ca": Path("ca.pem")}
NAME = "spiffe://shop.example/orders"


@knob("api_key")
async def keys(_place: Place) -> None:
    """With keys, strangers are refused and a key is known."""
    assert (await ask()).status_code == 200
    assert (await ask(settings=KEYS)).status_code == 401
    assert (await ask("/who", headers=BEARER, settings=KEYS)).json()["id"] == "ci"


@knob("allow_anonymous")
async def strangers(_place: Place) -> None:
    """Strangers are served although keys are configured."""
    assert (await ask(settings={**KEYS, "allow_anonymous": True})).status_code == 200


@knob("public_paths")
async def public(_place: Place) -> None:
    """Paths named need no identity."""
    assert (await ask(settings={**KEYS, "public_paths": ("/orders",)})).status_code == 200


@knob("access_rules")
async def rules(_place: Place) -> None:
    """A rule asks for a scope."""
    for rule, status in (("GET /orders=orders:read", 200), ("GET /orders=orders:write", 403)):
        assert (await ask(headers=BEARER, settings={**KEYS, "access_rules": (rule,)})).status_code == status


@asynccontextmanager
async def tokens(**settings: Any) -> AsyncIterator[tuple[Issuer, Any]]:
    """A running issuer, and a service that believes it. Ask with `claims`; the answer is the response."""
    issuer = Issuer()
    server = await asyncio.start_server(issuer.serve, "127.0.0.1", 0)
    issuer.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"
    known = {"jwt_jwks_url": issuer.url, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE} | settings
    async with service(**{name: value for name, value in known.items() if value is not None}) as made:

        async def bearing(**claims: Any) -> Any:
            now = time.time()
            token = issuer.pairs[0].token(**({"iat": now, "exp": now + 600} | claims))
            return await made.ask("/who", headers={"authorization": f"Bearer {token}"})

        yield issuer, bearing
    server.close()


@knob("jwt_jwks_url")
async def known_tokens(_place: Place) -> None:
    """Tokens signed with the issuer's keys are known; without it they mean nothing."""
    async with tokens() as (_, bearing):
        assert (await bearing(sub="ada")).json()["id"].endswith("ada")
    async with tokens(jwt_jwks_url=None) as (_, bearing):
        assert (await bearing(sub="ada")).json()["id"] == ""


@knob("jwt_issuer")
async def issuers(_place: Place) -> None:
    """Tokens of another issuer are refused."""
    for name, status in ((ISSUER, 200), ("https://other.example", 401)):
        async with tokens(jwt_issuer=name) as (_, bearing):
            assert (await bearing()).status_code == status


@knob("jwt_audience")
async def audiences(_place: Place) -> None:
    """Tokens for somebody else are refused."""
    for name, status in ((AUDIENCE, 200), ("other", 401)):
        async with tokens(jwt_audience=name) as (_, bearing):
            assert (await bearing()).status_code == status


@knob("jwt_algorithms")
async def algorithms(_place: Place) -> None:
    """Tokens signed in another way are refused."""
    for name, status in (("ES256", 200), ("EdDSA", 401)):
        async with tokens(jwt_algorithms=(name,)) as (_, bearing):
            assert (await bearing()).status_code == status


@knob("jwt_leeway")
async def leeway(_place: Place) -> None:
    """A token that expired so little ago is forgiven."""
    for seconds, status in ((600, 200), (0, 401)):
        async with tokens(jwt_leeway=seconds) as (_, bearing):
            assert (await bearing(exp=time.time() - 60)).status_code == status


@knob("jwt_tenant_claim")
async def tenants(_place: Place) -> None:
    """The claim named tells the tenant."""
    async with tokens(jwt_tenant_claim="org") as (_, bearing):
        assert (await bearing(org="acme")).json()["tenant"] == "acme"
    async with tokens() as (_, bearing):
        assert (await bearing(org="acme")).json()["tenant"] != "acme"


@knob("jwks_ttl")
async def keys_are_fetched_again(place: Place) -> None:
    """The issuer's keys are fetched again once they are that old."""
    clock = FakeClock()
    place.monkeypatch.setitem(Jwks.__init__.__kwdefaults__, "clock", clock)
    for ttl, fetches in ((600, 1), (15, 2)):
        async with tokens(jwks_ttl=ttl) as (issuer, bearing), asyncio.timeout(30):
            assert (await bearing()).status_code == 200
            clock.advance(20)
            assert (await bearing()).status_code == 200
            while issuer.asked < fetches:
                await asyncio.sleep(0.01)
            assert issuer.asked == fetches


@knob("jwks_max_age")
async def keys_grow_too_old(place: Place) -> None:
    """Keys that are older, of an issuer that cannot be reached, prove nothing."""
    clock = FakeClock()
    place.monkeypatch.setitem(Jwks.__init__.__kwdefaults__, "clock", clock)
    for age, status in ((10_000, 200), (50, 503)):
        async with tokens(jwks_ttl=15, jwks_max_age=age) as (issuer, bearing):
            assert (await bearing()).status_code == 200
            issuer.status = 500
            clock.advance(100)
            assert (await bearing()).status_code == status


async def shown(*names: str, **settings: Any) -> dict[str, Any]:
    """What a service makes of a client certificate with these names."""
    pem = Authority().issue(*names).certificate.decode()
    answer = await ask("/who", settings={**MTLS, **settings}, tls={"client_cert_chain": [pem]})
    return {"status": answer.status_code, **answer.json()}


@knob("tls_client_ca")
async def certificates_are_read(_place: Place) -> None:
    """With authorities, a client certificate makes a principal."""
    assert (await shown(NAME))["id"] == NAME
    assert (await shown(NAME, tls_client_ca=None))["id"] == ""


@knob("mtls_identity")
async def certificates_prove(_place: Place) -> None:
    """A client certificate makes no principal when it should not."""
    assert (await shown(NAME, mtls_identity=False))["id"] == ""


@knob("mtls_trust_domains")
async def trust_domains(_place: Place) -> None:
    """Certificates of other trust domains are refused."""
    assert (await shown(NAME, mtls_trust_domains=("shop.example",)))["status"] == 200
    assert (await shown(NAME, mtls_trust_domains=("other.example",)))["status"] == 401


@knob("mtls_scopes")
async def scopes_of_certificates(_place: Place) -> None:
    """A certificate holds the scopes written for it."""
    rule = {"access_rules": ("GET /who=orders:read",)}
    assert (await shown(NAME, **rule, mtls_scopes=(f"{NAME}=orders:read",)))["status"] == 200
    assert (await shown(NAME, **rule, mtls_scopes=(f"{NAME}=orders:write",)))["status"] == 403
