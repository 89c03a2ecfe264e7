"""Who calls."""

import asyncio
import json
from contextlib import suppress

import pytest
import structlog

from headgate.kit.asgi.problems import problem_response
from headgate.kit.controls.access import Access
from headgate.kit.controls.api_keys import ApiKeys
from headgate.kit.controls.call import Call, Pipeline
from headgate.kit.controls.certificates import MtlsAuthenticator
from headgate.kit.controls.faults import Fault, Unauthenticated, Unavailable
from headgate.kit.controls.identity import Identity, bearer_token
from headgate.kit.controls.principal import ANONYMOUS, Certificate, Principal

KEY = "wLq3Vh8sTz0aYc5dNf7gJk2mPr4uXw6b"
OTHER = "Zx9Wv8Ut7Sr6Qp5On4Ml3Kj2Ih1Gf0Ed"


def call(*headers, protocol="http", path="/orders", certificate=None):
    """A call with these headers, from 10.0.0.9."""
    found = Call(protocol, "GET", path, [(name.encode(), value.encode()) for name, value in headers], "10.0.0.9", 0.0)
    found.certificate = certificate
    return found


class Tokens:
    """An asynchronous authenticator of one's own."""

    name, challenge, hint = "tokens", 'Bearer realm="tokens"', "send a token"

    def __init__(self, found=None):
        self.asked = []
        self.found = found

    async def __call__(self, call):
        token = bearer_token(call)
        self.asked.append(token)
        await asyncio.sleep(0)
        if token and token.startswith("tk_"):
            if self.found is None:
                raise Unauthenticated("the token was revoked", code="token_revoked")
            return self.found
        return None


async def entered(identity, call, *more):
    """The call after `enter`; its fault in `call.fault`."""
    with suppress(Fault):
        await Pipeline([identity, *more]).enter(call)
    return call


async def test_the_first_who_knows():
    """Authenticators are asked in order, and the first that knows the caller names the principal."""
    token = Principal("team-token")
    tokens = Tokens(token)
    identity = Identity([ApiKeys.parse(f"ci={KEY}"), tokens, MtlsAuthenticator()])
    assert (await entered(identity, call(("x-api-key", KEY)))).principal.id == "ci"
    assert (await entered(identity, call(("authorization", f"Bearer {KEY}")))).principal.id == "ci"
    assert tokens.asked == []
    assert (await entered(identity, call(("authorization", "Bearer tk_1")))).principal is token
    certificate = Certificate(common_name="orders", fingerprint="1")
    assert (await entered(identity, call(certificate=certificate))).principal.id == "cn:orders"
    assert (await entered(identity, call(("authorization", "Bearer tk_1"), certificate=certificate))).principal is token


async def test_two_asynchronous_ones():
    """An authenticator after one that had to wait is asked as well, whether it waits or not."""
    last = Principal("last")
    identity = Identity([Tokens(), Tokens(), lambda_authenticator(lambda _call: last)])
    assert (await entered(identity, call())).principal is last


def lambda_authenticator(function):
    """An authenticator without a challenge."""

    class Made:
        name, challenge = "made", ""

        def __call__(self, call):
            return function(call)

    return Made()


def test_known_callers_need_no_coroutine():
    """API keys and certificates are recognised without a coroutine."""
    identity = Identity([ApiKeys.parse(f"ci={KEY}"), MtlsAuthenticator()])
    for each in (call(("x-api-key", KEY)), call(certificate=Certificate(common_name="x", fingerprint="f"))):
        assert identity.identify(each) is None
        assert each.principal


async def test_nobody():
    """A call without credentials is anonymous, and that alone is not refused here."""
    found = await entered(Identity([ApiKeys.parse(KEY), Tokens()]), call())
    assert found.principal is ANONYMOUS
    assert found.fault is None


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", KEY), ("x-api-key", KEY)],
        [("x-api-key", KEY), ("x-api-key", OTHER)],
        [("authorization", f"Bearer {KEY}"), ("authorization", f"Bearer {KEY}")],
        [("authorization", "Basic YTpi"), ("authorization", f"Bearer {KEY}")],
        [("authorization", f"Bearer {KEY}"), ("authorization", "Basic YTpi")],
        [("x-api-key", KEY), ("authorization", f"Bearer {KEY}")],
        [("x-api-key", KEY), ("authorization", f"ApiKey {KEY}")],
    ],
)
async def test_ambiguous_credentials(headers):
    """More than one credential is refused, even if they are the same: what reads the other one might differ."""
    found = await entered(Identity([ApiKeys.parse(KEY)]), call(*headers))
    assert found.fault.code == "ambiguous_credentials"
    assert found.principal is ANONYMOUS


@pytest.mark.parametrize(
    "headers",
    [
        [("x-api-key", KEY), ("authorization", "Basic YTpi")],
        [("x-api-key", KEY), ("cookie", "a=1"), ("cookie", "b=2")],
    ],
)
async def test_what_is_not_ambiguous(headers):
    """An application's own `Authorization`, and other headers that come twice, are no second credential."""
    assert (await entered(Identity([ApiKeys.parse(KEY)]), call(*headers))).principal


@pytest.mark.parametrize("token", [OTHER, "", "eyJhbGciOiJub25lIn0.e30."])
async def test_credentials_nobody_knows(token):
    """A bearer token that no authenticator knows is refused and not taken for none."""
    found = await entered(Identity([ApiKeys.parse(KEY), Tokens()]), call(("authorization", f"Bearer {token}".strip())))
    assert found.fault.code == "invalid_credentials"
    assert found.refused_by == "identity"


async def test_credentials_of_others():
    """`Authorization` in a scheme that no authenticator reads is the application's business."""
    basic = call(("authorization", "Basic YTpi"))
    assert (await entered(Identity([ApiKeys.parse(KEY)]), basic)).fault is None
    bearer = call(("authorization", "Bearer abc"))
    assert (await entered(Identity([MtlsAuthenticator()]), bearer)).fault is None


async def test_wrong_credentials_are_refused_after_limits():
    """Wrong credentials are refused in the admit phase: limits before it count guesses by address."""
    seen = []

    class Limit(Access):
        def admit(self, call):
            seen.append(call.key)

    found = call(("x-api-key", OTHER))
    with pytest.raises(Unauthenticated):
        await Pipeline([Limit(), Identity([ApiKeys.parse(KEY)])]).enter(found)
    assert seen == ["client:10.0.0.9"]


async def test_paths_nobody_asks_at():
    """At probes, and for gRPC's health service, credentials are not looked at; at public paths wrong ones are none."""
    tokens = Tokens(Principal("t"))
    identity = Identity([tokens], unasked=["/health"], public=["/docs/", "/about"])
    for path in ("/health", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"):
        assert (await entered(identity, call(("authorization", "Bearer tk_1"), path=path))).principal is ANONYMOUS
    assert tokens.asked == []
    for path in ("/docs/a", "/about"):
        assert (await entered(identity, call(("authorization", "Bearer no"), path=path))).fault is None
        assert (await entered(identity, call(("authorization", "Bearer tk_1"), path=path))).principal.id == "t"
    for path in ("/docs/../orders", "/docs//a", "/docs", "/docs/%2e%2e/orders", "/About", "/about/", "/health/"):
        assert (await entered(identity, call(("authorization", "Bearer no"), path=path))).fault is not None


async def test_other_faults_and_defects():
    """A store that is down is told as such; a defect of an authenticator lets nobody in."""

    async def down(_call):
        raise Unavailable("the store is down", code="store_down")

    def broken(_call):
        raise RuntimeError("a defect")

    found = await entered(Identity([lambda_authenticator(down)]), call())
    assert (found.fault.code, found.principal) == ("store_down", ANONYMOUS)
    with pytest.raises(RuntimeError):
        await Pipeline([Identity([lambda_authenticator(broken)])]).enter(call())


async def test_cancelled_while_asked():
    """Whoever leaves while an authenticator waits leaves nothing behind."""

    async def waiting(_call):
        await asyncio.Event().wait()

    found = call()
    task = asyncio.create_task(Pipeline([Identity([lambda_authenticator(waiting)])]).enter(found))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert found.state is None
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def answered(identity, found, headers=()):
    """The challenges of the answer."""
    sent = list(headers)
    await entered(identity, found, Access())
    identity.respond(found, sent)
    return [value.decode() for name, value in sent if name == b"www-authenticate"]


async def test_challenges():
    """A 401 says what would be accepted, and to whoever presented a bearer token that it was not."""
    identity = Identity([ApiKeys.parse(KEY), Tokens(), MtlsAuthenticator()])
    assert await answered(identity, call(), [(b"www-authenticate", b"Basic")]) == [
        "Bearer",
        'Bearer realm="tokens"',
        "ClientCertificate",
    ]
    assert await answered(identity, call(("authorization", "Bearer tk_1"))) == [
        'Bearer error="invalid_token"',
        'Bearer realm="tokens", error="invalid_token"',
        "ClientCertificate",
    ]
    assert await answered(identity, call(("x-api-key", KEY))) == []
    assert await answered(identity, call(protocol="grpc")) == []
    assert await answered(Identity([lambda_authenticator(lambda _call: None)]), call()) == ["Bearer"]


def test_challenge_of_the_application():
    """A challenge that the application itself made for its own refusal is left as it is."""
    identity, found, headers = Identity([ApiKeys.parse(KEY)]), call(), [(b"www-authenticate", b"Basic")]
    found.fault = Unauthenticated("who?")
    identity.respond(found, headers)
    assert headers == [(b"www-authenticate", b"Basic")]


def test_hint():
    """Callers without credentials are told what each authenticator wants."""
    assert Identity([ApiKeys.parse(KEY), Tokens(), Tokens()]).hint == (
        "send 'X-API-Key: KEY' or 'Authorization: Bearer KEY', or send a token"
    )


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Bearer ", None), ("Bearer", None), ("Basic abc", None)],
)
def test_bearer_token(header, token):
    """The token of a bearer header is found in any spelling of the scheme."""
    assert bearer_token(call(("authorization", header))) == token
    assert bearer_token(call()) is None


async def test_d11_metadata_does_not_change_who_calls():
    """Over gRPC a caller is charged by its key or its address, whatever else its metadata says; health is not asked."""
    identity = Identity([ApiKeys.parse(f"ci={KEY}")])
    keys = set()
    for number in range(3):
        for protocol in ("grpc", "http"):
            extra = ("x-anything", str(number))
            found = await entered(identity, call(extra, ("x-api-key", KEY), protocol=protocol))
            keys.add(found.key)
            keys.add((await entered(identity, call(extra, protocol=protocol))).key)
    assert keys == {"principal:ci", "client:10.0.0.9"}
    health = call(("x-api-key", OTHER), protocol="grpc", path="/grpc.health.v1.Health/Check")
    assert (await entered(identity, health, Access())).fault is None


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
@pytest.mark.parametrize("known", [True, False])
async def test_d17_credentials_are_never_repeated(name, known, logged):
    """Nothing of a credential's text is in the principal, the fault, the log, the answer's headers or its body."""
    identity = Identity([ApiKeys.parse(f"ci={KEY if known else OTHER}"), Tokens()])
    found = call((name, KEY if name == "x-api-key" else f"Bearer {KEY}"))
    await entered(identity, found, Access({"/orders": "orders:write"}))
    headers = []
    identity.respond(found, headers)
    fault = found.fault
    structlog.get_logger().info(
        "call", principal=repr(found.principal), key=found.key, fault=str(fault), route=found.route
    )
    shown = [json.dumps(logged()), repr(found.principal), found.key, str(headers)]
    if fault is not None:
        response = problem_response(fault, {"path": "/orders"})
        shown += [str(vars(fault)), response.body.decode(), str(response.headers)]
    assert known == bool(found.principal)
    for text in shown:
        assert KEY not in text
        assert KEY[:8] not in text
        assert KEY[-8:] not in text
