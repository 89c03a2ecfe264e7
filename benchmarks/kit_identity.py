"""What it costs to know who calls and whether they may: API key, token, certificate, with and without rules."""

import asyncio
import json
import statistics
import time
from collections.abc import Callable

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from benchmarks.report import Measure, at_most, observed, publish
from headgate.kit.controls.access import Access
from headgate.kit.controls.api_keys import ApiKeys
from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.certificates import MtlsAuthenticator
from headgate.kit.controls.identity import Authenticator, Identity
from headgate.kit.controls.principal import Certificate
from headgate.kit.identity.jwt import JwtAuthenticator
from headgate.kit.identity.keys import FixedKeys

ROUNDS = 9
TIMES = 20_000
KEY = "wLq3Vh8sTz0aYc5dNf7gJk2mPr4uXw6b"
RULES = {"GET /orders": "orders:read", "POST /orders/{id}": "orders:write", "/shop.v1.Orders/*": "orders:write"}
HEADERS = [(b"host", b"shop.example"), (b"user-agent", b"x"), (b"accept", b"*/*"), (b"content-type", b"a/b")]
CERTIFICATE = Certificate(uris=("spiffe://shop.example/orders",), fingerprint="ab" * 32)


def _call(method: str = "GET", path: str = "/orders", *header: tuple[bytes, bytes]) -> Call:
    return Call("http", method, path, [*HEADERS, *header], "203.0.113.9", 0.0)


def _microseconds(act: Callable[[], object], times: int = TIMES) -> float:
    """Median over the rounds of the mean time of one call."""
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(times):
            act()
        rounds.append((time.perf_counter() - started) / times * 1e6)
    return statistics.median(rounds)


def _of(authenticator: Authenticator, access: Access, call: Call) -> float:
    identity = Identity([authenticator], unasked=["/health"])
    headers: list[tuple[bytes, bytes]] = []

    def once() -> None:
        identity.identify(call)
        identity.admit(call)
        access.admit(call)
        identity.respond(call, headers)

    return _microseconds(once)


def _tokens() -> tuple[JwtAuthenticator, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    entry = json.loads(ECAlgorithm.to_jwk(key.public_key())) | {"kid": "one"}
    claims = {"iss": "i", "aud": "a", "sub": "ada", "exp": time.time() + 3_600, "scope": "orders:read"}
    token = jwt.encode(claims, key, "ES256", headers={"kid": "one"})
    return JwtAuthenticator(FixedKeys({"keys": [entry]}), issuer="i", audience="a"), b"Bearer " + token.encode()


def _first_time() -> float:
    """One token verified, its signature included."""
    authenticator, bearer = _tokens()
    call = _call("GET", "/orders", (b"authorization", bearer))

    def once() -> None:
        authenticator._verified.clear()  # noqa: SLF001 - so that it is verified each time
        authenticator(call)

    return _microseconds(once, 500)


async def _entered() -> float:
    """The same through the pipeline of a shell, which is awaited."""
    pipeline = Pipeline([Identity([ApiKeys.parse(f"ci={KEY}")]), Access(RULES)])
    call = _call("GET", "/orders", (b"x-api-key", KEY.encode()))
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(TIMES):
            await pipeline.enter(call)
        rounds.append((time.perf_counter() - started) / TIMES * 1e6)
    return statistics.median(rounds)


def measures() -> list[Measure]:
    """Everything."""
    keys, rules = ApiKeys.parse(f"ci={KEY}"), Access(RULES)
    by_key, bearer = (b"x-api-key", KEY.encode()), (b"authorization", b"Bearer " + KEY.encode())
    tokens, token = _tokens()
    peer = _call()
    peer.certificate = CERTIFICATE
    certificates = MtlsAuthenticator(scopes={CERTIFICATE.uris[0]: ["orders:read"]})
    return [
        at_most("API key, no rules", _of(keys, Access(), _call("GET", "/orders", by_key)), "us", 2),
        at_most("API key, rule of a path", _of(keys, rules, _call("GET", "/orders", by_key)), "us", 2),
        observed("API key as bearer, rule of a path", _of(keys, rules, _call("GET", "/orders", bearer)), "us"),
        observed("API key, rule of a template", _of(keys, rules, _call("POST", "/orders/17", by_key)), "us"),
        observed("API key through a pipeline", asyncio.run(_entered()), "us"),
        observed("token seen before", _of(tokens, rules, _call("GET", "/orders", (b"authorization", token))), "us"),
        observed("token seen for the first time (ES256)", _first_time(), "us"),
        observed("certificate seen before", _of(certificates, rules, peer), "us"),
    ]


if __name__ == "__main__":
    raise SystemExit(publish("kit_identity", measures()))
