"""JSON Web Tokens."""

import base64
import inspect
import json
from types import SimpleNamespace

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument, Unauthenticated, Unavailable
from headgate.kit.controls.identity import Identity
from headgate.kit.controls.principal import Certificate, Principal
from headgate.kit.identity import jwt as module
from headgate.kit.identity.jwks import Jwks
from headgate.kit.identity.jwt import JwtAuthenticator, roles_of, scopes_of
from headgate.kit.identity.keys import FixedKeys
from tests.kit.identity.conftest import AUDIENCE, ISSUER, NOW, SigningPair

PAIR = SigningPair("one")
ED = SigningPair("two", "EdDSA")
RSA = SigningPair("three", "RS256")
KEYS = FixedKeys({"keys": [each.jwk() for each in (PAIR, ED, RSA)]})


def call(token, certificate=None):
    """A call with a bearer token."""
    found = Call("http", "GET", "/", [(b"authorization", f"Bearer {token}".encode())], "", 0.0)
    found.certificate = certificate
    return found


def made(clock=lambda: NOW, keys=KEYS, **given):
    """An authenticator for the tests' issuer and audience."""
    return JwtAuthenticator(keys, **({"issuer": ISSUER, "audience": AUDIENCE, "clock": clock} | given))


def encoded(part):
    """One part of a token."""
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def refused(authenticator, token, certificate=None):
    """The code a token is refused with; the refusal tells nothing of the token."""
    with pytest.raises(Unauthenticated) as caught:
        authenticator(call(token, certificate))
    fault = caught.value
    told = f"{fault.message} {fault.hint} {fault.internal} {fault.violations}"
    assert not any(part in told for part in token.split(".") if len(part) > 8)
    assert "ada" not in told
    return fault.code


@pytest.mark.parametrize("pair", [PAIR, ED, RSA])
def test_a_good_token(pair):
    """A token of the issuer makes a principal of issuer, subject and scopes, at once and without a coroutine."""
    found = made()(call(pair.token(scope="orders:read orders:write", scp=["a"], permissions=["b"])))
    assert isinstance(found, Principal)
    assert (found.id, found.kind, found.tenant) == (f"{ISSUER}#ada", "jwt", "")
    assert found.scopes == {"orders:read", "orders:write", "a", "b"}
    assert found.extra["sub"] == "ada"
    assert "ada" not in repr(found).replace("#ada", "")


@pytest.mark.parametrize(
    ("claims", "scopes"),
    [
        ({}, set()),
        ({"scope": " a  b "}, {"a", "b"}),
        ({"scp": "a b"}, {"a", "b"}),
        ({"permissions": ["a", 7, "", None]}, {"a"}),
        ({"scope": 7, "scp": {"a": 1}}, set()),
    ],
)
def test_scopes(claims, scopes):
    """Scopes are words or lists of words; whatever else an issuer writes there grants nothing."""
    assert scopes_of(claims) == scopes


@pytest.mark.parametrize(
    ("claims", "roles"),
    [
        ({}, set()),
        ({"roles": ["clerk", "", 7]}, {"clerk"}),
        ({"roles": "clerk manager"}, {"clerk", "manager"}),
        ({"roles": ["clerk"], "realm_access": {"roles": ["manager"]}}, {"clerk", "manager"}),
        ({"realm_access": "manager"}, set()),
    ],
)
def test_roles(claims, roles):
    """Roles are words, in a list or a text, where issuers are used to put them."""
    assert roles_of(claims) == roles


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": NOW - 31}, "token_expired"),
        ({"exp": NOW - 30}, "token_expired"),
        ({"exp": None}, "missing_claim"),
        ({"exp": "tomorrow"}, "token_invalid"),
        ({"exp": True}, "token_invalid"),
        ({"exp": float("inf")}, "token_invalid"),
        ({"exp": float("nan")}, "token_invalid"),
        ({"exp": 10**400}, "token_invalid"),
        ({"nbf": NOW + 31}, "token_not_yet_valid"),
        ({"iat": NOW + 31}, "token_not_yet_valid"),
        ({"nbf": "now"}, "token_invalid"),
        ({"iss": "https://issuer.example/"}, "wrong_issuer"),
        ({"iss": None}, "wrong_issuer"),
        ({"aud": "other"}, "wrong_audience"),
        ({"aud": ["other", "shop2"]}, "wrong_audience"),
        ({"aud": None}, "wrong_audience"),
        ({"aud": []}, "wrong_audience"),
        ({"sub": None}, "missing_claim"),
        ({"sub": ""}, "missing_claim"),
        ({"sub": "a\nb"}, "missing_claim"),
        ({"sub": "s" * 256}, "missing_claim"),
        ({"cnf": {"jkt": "abc"}}, "wrong_binding"),
        ({"cnf": {"x5t#S256": "abc", "jkt": "abc"}}, "wrong_binding"),
        ({"cnf": "abc"}, "wrong_binding"),
    ],
)
def test_claims(claims, code):
    """Each claim that is missing, of another kind, or wrong is refused with a code of its own."""
    assert refused(made(), PAIR.token(**claims)) == code


def test_claims_that_are_fine():
    """Clocks may differ by the leeway, and one audience among several is enough."""
    for claims in ({"exp": NOW - 29}, {"nbf": NOW + 30}, {"iat": NOW + 30}, {"aud": ["other", AUDIENCE]}):
        assert made()(call(PAIR.token(**claims)))
    several = made(issuer=[ISSUER, "https://b.example"], audience=["x", AUDIENCE])
    assert several(call(PAIR.token(iss="https://b.example"))).id == "https://b.example#ada"


def test_tenant():
    """With a claim for the tenant every token must have it; without one nothing is made of it."""
    assert made(tenant_claim="org")(call(PAIR.token(org="acme"))).tenant == "acme"
    for tenant in (None, "", 7, ["acme"]):
        assert refused(made(tenant_claim="org"), PAIR.token(org=tenant)) == "missing_claim"
    assert made()(call(PAIR.token(org="acme"))).tenant == ""


def test_signatures():
    """A token changed, signed by another key, or cut is refused."""
    header, payload, signature = PAIR.token().split(".")
    other = PAIR.token(sub="eve").split(".")[1]
    for token in (
        f"{header}.{other}.{signature}",
        f"{header}.{payload}.{signature[:-4]}",
        f"{header}.{payload}.",
        SigningPair("one").token(),
        f"{header}..{signature}",
    ):
        assert refused(made(), token) == "token_invalid"


@pytest.mark.parametrize("algorithm", ["none", "None", "nOnE", "HS256", "ES384", "RS512", ""])
def test_algorithms_a_token_may_not_choose(algorithm):
    """What is not in the list is refused, `none` in any spelling and shared secrets above all."""
    header = encoded({"alg": algorithm, "kid": "one", "typ": "JWT"})
    payload = PAIR.token().split(".")[1]
    for signature in ("", "AAAA", PAIR.token().split(".")[2]):
        assert refused(made(), f"{header}.{payload}.{signature}") == "algorithm_not_allowed"


def test_public_keys_are_no_shared_secrets():
    """A token signed by HMAC with the public key as its secret is refused, even under a name that is allowed."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = RSA.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for algorithm, code in (("HS256", "algorithm_not_allowed"), ("RS256", "token_invalid")):
        signed = f"{encoded({'alg': algorithm, 'kid': 'three'})}.{RSA.token().split('.')[1]}"
        signature = hmac.new(public, signed.encode(), hashlib.sha256).digest()
        assert refused(made(), f"{signed}.{encoded(signature)}") == code


def test_a_key_verifies_its_own_algorithms_only():
    """A key is not used for an algorithm of another type, though both are allowed."""
    payload = PAIR.token().split(".")[1]
    for kid, algorithm in (("one", "RS256"), ("three", "ES256"), ("two", "RS256")):
        token = f"{encoded({'alg': algorithm, 'kid': kid})}.{payload}.AAAA"
        assert refused(made(), token) == "unknown_key"


@pytest.mark.parametrize("algorithms", [[], ["none"], ["HS256"], ["RS256", "HS512"], ["rs256"]])
def test_algorithms_that_cannot_be_allowed(algorithms):
    """Shared secrets, `none` and unknown algorithms cannot be configured."""
    with pytest.raises(InvalidArgument) as caught:
        made(algorithms=algorithms)
    assert caught.value.code == "invalid_jwt_settings"


@pytest.mark.parametrize("given", [{"issuer": ""}, {"issuer": []}, {"audience": ""}, {"audience": ["a", ""]}])
def test_issuer_and_audience_are_required(given):
    """Without issuer and audience tokens made for others would be accepted, so it does not start."""
    with pytest.raises(InvalidArgument) as caught:
        made(**given)
    assert caught.value.code == "invalid_jwt_settings"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"typ": "at+jwt"}, None),
        ({"typ": "JWT"}, None),
        ({"typ": None}, None),
        ({"typ": "logout+jwt"}, "token_invalid"),
        ({"typ": "dpop+jwt"}, "token_invalid"),
        ({"crit": ["b64"], "b64": True}, "token_invalid"),
        ({"kid": "four"}, "unknown_key"),
        ({"jku": "https://evil.example/", "jwk": {"kty": "oct"}}, None),
    ],
)
def test_headers(headers, code):
    """Only access tokens are accepted; keys that a token brings along or points to are not looked at."""
    token = PAIR.token(headers)
    if code is None:
        assert made()(call(token))
    else:
        assert refused(made(), token) == code


def test_without_key_id():
    """A token without `kid` is verified with the only key there is for its algorithm; one of several is not tried."""
    assert made()(call(PAIR.token({"kid": None})))
    two = FixedKeys({"keys": [PAIR.jwk(), SigningPair("other").jwk()]})
    assert refused(made(keys=two), PAIR.token({"kid": None})) == "unknown_key"


@pytest.mark.parametrize(
    "token",
    [
        "e..", "e30..", "e30.e30.e30", "eyJ.eyJ.x", "e.e.e", "eyJhbGciOiJFUzI1NiJ9.e30.!!", "e\x7f.a.b",
        f"{encoded(b'{' + b'[' * 3000)}.e30.e30", f"{encoded(b'{' * 3000)}.e30.e30",
        f"{encoded({'alg': ['ES256']})}.e30.e30",
        f"{encoded({'alg': 'ES256', 'kid': 7})}.e30.e30", f"{encoded({'alg': 'ES256', 'typ': [1]})}.e30.e30",
    ],
)  # fmt: skip
def test_malformed(token):
    """What only looks like a token is refused."""
    assert refused(made(), token) in {"token_invalid", "algorithm_not_allowed"}


@pytest.mark.parametrize("payload", [b"[]", b"7", b"\xff", b"[" * 3000, b"{", b'{"exp": ' + b"9" * 5000 + b"}"])
def test_payloads_that_claim_nothing(payload):
    """A signed payload that is no object of claims is refused."""
    token = jwt.PyJWS().encode(payload, PAIR.key, "ES256", headers={"kid": "one"})
    assert refused(made(), token) == "token_invalid"


def test_too_long():
    """A token beyond the limit is not even hashed."""
    assert refused(made(max_bytes=100), PAIR.token()) == "token_too_long"


@pytest.mark.parametrize(
    "token", ["", "abc", "a.b", "a.b.c", "x.y.z", "e.b.c.d.e", "hg_abc", f"{encoded([1])}.e30.e30"]
)
def test_what_is_no_token(token):
    """A bearer of another kind is left to other authenticators."""
    assert made()(call(token)) is None


def test_no_header():
    """Without a bearer header nothing was presented."""
    assert made()(Call("http", "GET", "/", [], "", 0.0)) is None
    basic = Call("http", "GET", "/", [(b"authorization", b"Basic " + PAIR.token().encode())], "", 0.0)
    assert made()(basic) is None


def test_bound_to_a_certificate():
    """A token bound to a certificate is good for the holder of that one, also when it is remembered."""
    thumbprint = base64.urlsafe_b64encode(bytes(range(32))).rstrip(b"=").decode()
    token = PAIR.token(cnf={"x5t#S256": thumbprint})
    mine, other = Certificate(fingerprint=bytes(range(32)).hex()), Certificate(fingerprint=bytes(32).hex())
    authenticator = made()
    for _ in range(2):
        assert authenticator(call(token, mine))
        assert refused(authenticator, token, other) == "wrong_binding"
        assert refused(authenticator, token) == "wrong_binding"


def test_remembered_until_it_expires(clock, monkeypatch):
    """A token is verified once and remembered until it expires, and then no longer."""
    authenticator, token = made(clock), PAIR.token(exp=NOW + 10)
    first = authenticator(call(token))
    monkeypatch.setattr(authenticator, "_verify", None)
    clock.now += 39
    assert authenticator(call(token)) is first
    clock.now += 1
    assert refused(authenticator, token) == "token_expired"


def test_memory_is_bounded():
    """What is remembered of tokens is bounded, and holds no text of them."""
    authenticator = made(cache_size=3)
    tokens = [PAIR.token(sub=f"user{number}") for number in range(10)]
    for token in tokens:
        authenticator(call(token))
    assert len(authenticator._verified) == 3
    assert not any(token.split(".")[2] in str(vars(authenticator)) for token in tokens)


def test_refused_tokens_are_not_remembered():
    """A token that is refused takes no memory."""
    authenticator = made()
    for claims in ({"aud": "x"}, {"sub": None}, {"exp": NOW - 99}):
        refused(authenticator, PAIR.token(**claims))
    assert authenticator._verified == {}


async def asked(authenticator, token):
    """The principal, awaited when it must be."""
    found = authenticator(call(token))
    return await found if inspect.isawaitable(found) else found


async def test_rotation(issuer, clock):
    """A token of a new key makes the keys be fetched; one of a key that is gone is refused, remembered or not."""
    keys = Jwks(issuer.url, clock=clock)
    authenticator, old = made(clock, keys), issuer.pairs[0]
    token = old.token()
    assert await asked(authenticator, token)
    assert await asked(authenticator, token)
    assert issuer.asked == 1
    issuer.pairs = [SigningPair("new")]
    clock.now += 10
    assert await asked(authenticator, issuer.pairs[0].token())
    assert issuer.asked == 2
    with pytest.raises(Unauthenticated) as caught:
        await asked(authenticator, token)
    assert caught.value.code == "unknown_key"
    assert await asked(authenticator, issuer.pairs[0].token())


async def test_invented_key_ids(issuer, clock):
    """However many key ids strangers invent, the issuer is asked once in an interval and nothing is kept of them."""
    keys = Jwks(issuer.url, clock=clock)
    authenticator = made(clock, keys)
    stranger = SigningPair("x")
    await asked(authenticator, issuer.pairs[0].token())
    for number in range(50):
        with pytest.raises(Unauthenticated) as caught:
            await asked(authenticator, stranger.token({"kid": f"invented{number}"}))
        assert caught.value.code == "unknown_key"
    assert issuer.asked == 1
    assert len(authenticator._verified) == 1


async def test_issuer_down(issuer, clock):
    """While there are no keys a token is neither good nor bad: the service is unavailable, not the caller unknown."""
    issuer.status = 500
    authenticator = made(clock, Jwks(issuer.url, clock=clock))
    for _ in range(2):
        with pytest.raises(Unavailable) as caught:
            await asked(authenticator, issuer.pairs[0].token())
        assert caught.value.code == "issuer_unavailable"
        assert caught.value.retry_after >= 1
    assert issuer.asked == 1


async def test_closing(issuer, clock):
    """Closing the authenticator ends the fetch under way."""
    issuer.open.clear()
    keys = Jwks(issuer.url, clock=clock)
    authenticator = made(clock, keys)
    keys._start()
    await authenticator.aclose()
    assert keys._flight.done()
    await made().aclose()


async def test_in_the_control(issuer, clock):
    """The control waits for keys when it must, and remembers the principal of the call."""
    identity = Identity([made(clock, Jwks(issuer.url, clock=clock))])
    first, second = call(issuer.pairs[0].token()), call(issuer.pairs[0].token())
    await identity.identify(first)
    assert identity.identify(second) is None
    assert first.principal.id == second.principal.id == f"{ISSUER}#ada"


def test_without_the_extra(monkeypatch):
    """Without the packages that verify tokens the fault names the extra, when the process starts."""
    monkeypatch.setattr(module, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _name: None)))
    with pytest.raises(FailedPrecondition) as caught:
        made()
    assert (caught.value.code, caught.value.hint) == ("extra_missing", "pip install 'headgate[jwt]'")


@given(st.text(alphabet='eyJhbGci.{}":-_=0\x00é', max_size=80).map(lambda text: f"e{text}"))
def test_any_text_is_judged(text):
    """Any text is left alone or refused with a fault, and never believed."""
    try:
        assert made()(call(text)) is None
    except Fault:
        return
