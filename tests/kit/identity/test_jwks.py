"""An issuer's keys: fetched, kept, renewed, and missed."""

import asyncio
import contextvars
import gzip
import json
from types import SimpleNamespace

import httpx
import pytest

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unavailable
from headgate.kit.identity import jwks as module
from headgate.kit.identity.jwks import Jwks
from headgate.kit.identity.keys import FixedKeys, KeySet
from tests.kit.identity.conftest import SigningPair


@pytest.fixture
async def keys(issuer, clock):
    """The issuer's keys, not fetched yet."""
    found = Jwks(issuer.url, clock=clock)
    yield found
    await found.aclose()


async def settled(keys):
    """Wait for the fetch under way."""
    if keys._flight is not None:
        await asyncio.wait({keys._flight})


async def test_fetched_once(keys, issuer):
    """Keys are fetched when they are first needed, and not again as long as they are fresh."""
    assert keys.current() is None
    found = await keys.refresh()
    assert found.find("one", "ES256") is not None
    assert keys.current() is found
    assert await keys.refresh() is found
    assert issuer.asked == 1
    assert b"accept-encoding: identity" in issuer.seen[0].lower()


async def test_single_flight(keys, issuer):
    """However many wait for keys, one request is made for them."""
    issuer.open.clear()
    waiting = [asyncio.create_task(keys.refresh()) for _ in range(50)]
    while not issuer.asked:
        await asyncio.sleep(0.001)
    issuer.open.set()
    found = await asyncio.gather(*waiting)
    assert issuer.asked == 1
    assert all(each is found[0] for each in found)


async def test_who_leaves_does_not_end_it_for_others(keys, issuer):
    """A caller that goes away while keys are fetched leaves the fetch to the others."""
    issuer.open.clear()
    first, second = asyncio.create_task(keys.refresh()), asyncio.create_task(keys.refresh())
    while not issuer.asked:
        await asyncio.sleep(0.001)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    issuer.open.set()
    assert len(await second) == 1
    assert issuer.asked == 1


async def test_rotation_is_seen(keys, issuer, clock):
    """Old keys serve on while newer ones are fetched behind them, and the next call has these."""
    old = await keys.refresh()
    issuer.pairs = [SigningPair("two")]
    clock.now += 300
    assert keys.current() is old
    await settled(keys)
    assert keys.current().find("two", "ES256") is not None
    assert keys.current().find("one", "ES256") is None
    assert issuer.asked == 2


async def test_unchanged_keys_stay_the_same(keys, issuer, clock):
    """A fetch that brings nothing new leaves the set the same object, so that results made with it stay good."""
    old = await keys.refresh()
    clock.now += 300
    keys.current()
    await settled(keys)
    assert keys.current() is old
    assert issuer.asked == 2


async def test_asked_at_most_every_interval(keys, issuer, clock):
    """Between two fetches there is the interval, whatever is asked for."""
    await keys.refresh()
    for _ in range(20):
        clock.now += 0.4
        assert not keys.may_refresh()
        await keys.refresh()
    assert issuer.asked == 1
    clock.now += 2.1
    assert keys.may_refresh()
    await keys.refresh()
    assert issuer.asked == 2


async def test_issuer_down(keys, issuer, clock, logged):
    """While the issuer is down the last keys serve until their greatest age, told once; its return is told, too."""
    found = await keys.refresh()
    issuer.status = 503
    for _ in range(5):
        clock.now += 400
        assert keys.current() is found
        await settled(keys)
    assert issuer.asked == 6
    clock.now += 86_400
    assert keys.current() is None
    with pytest.raises(Unavailable) as caught:
        await keys.refresh()
    assert caught.value.code == "issuer_unavailable"
    assert 1 <= caught.value.retry_after <= 10
    issuer.status = 200
    clock.now += 10
    assert len(await keys.refresh()) == 1
    told = [line for line in logged() if line.get("url") == issuer.url]
    assert [line["level"] for line in told] == ["info", "warning", "info"]
    assert "status 503" in told[1]["reason"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": 302, "headers": {"location": "http://127.0.0.1:1/"}}, "status 302"),
        ({"status": 404}, "status 404"),
        ({"body": "<html>"}, "no JSON"),
        ({"body": "[]"}, "no JWK Set"),
        ({"body": '{"keys": []}'}, "no public key"),
        ({"body": '{"keys": {}}'}, "no JWK Set"),
        ({"body": "[" * 100_000}, "Recursion"),
        ({"body": "x" * 300_000}, "longer than 262144 bytes"),
        ({"body": gzip.compress(b"{}"), "headers": {"content-encoding": "gzip"}}, "compressed"),
    ],
)
async def test_answers_that_are_of_no_use(keys, issuer, logged, change, reason):
    """An answer that holds no keys, is too long, or leads elsewhere leaves things as they are, with the reason."""
    for name, value in change.items():
        setattr(issuer, name, value)
    with pytest.raises(Unavailable):
        await keys.refresh()
    assert reason in logged()[-1]["reason"]


async def test_no_answer(issuer, clock, logged):
    """An issuer that does not answer is waited for no longer than the timeout."""
    issuer.open.clear()
    keys = Jwks(issuer.url, clock=clock, timeout=0.05)
    with pytest.raises(Unavailable):
        await keys.check()
    assert "no answer within" in logged()[-1]["reason"]


async def test_closing_ends_a_fetch(keys, issuer):
    """Closing ends the fetch under way, and whoever waits for it is told that there are no keys."""
    issuer.open.clear()
    waiting = asyncio.create_task(keys.refresh())
    while not issuer.asked:
        await asyncio.sleep(0.001)
    await keys.aclose()
    with pytest.raises(Unavailable):
        await waiting
    assert asyncio.all_tasks() - {asyncio.current_task()} <= {
        task for task in asyncio.all_tasks() if task.get_coro().__qualname__ == "Issuer.serve"
    }


async def test_readiness(keys):
    """The check for readiness fetches keys, and passes when there are some."""
    await keys.check()
    assert keys.current() is not None


def test_another_loop(issuer_body, clock):
    """A fetch that a closed loop left behind does not keep the next loop from fetching."""
    asked = []

    async def answer(request):
        asked.append(request)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return httpx.Response(200, json=issuer_body)

    keys = Jwks("https://issuer.example/", clock=clock, client=lambda: client)

    async def abandoned():
        keys._start()
        while not asked:
            await asyncio.sleep(0)

    loop = asyncio.new_event_loop()
    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    loop.run_until_complete(abandoned())
    left = keys._flight
    assert not left.done()
    clock.now += 10
    assert len(asyncio.run(keys.refresh())) == 1
    left.cancel()
    loop.run_until_complete(asyncio.wait({left}))
    loop.close()


@pytest.fixture
def issuer_body():
    """A JWK Set of one key."""
    return {"keys": [SigningPair("one").jwk()]}


async def test_a_client_of_ones_own(issuer_body, clock):
    """With a client given, that one is used and left open; the fetch is no part of the call it began in."""
    current = contextvars.ContextVar("current", default="nothing")
    seen = []

    def answer(_request):
        seen.append(current.get())
        return httpx.Response(200, json=issuer_body)

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    keys = Jwks("https://issuer.example/", clock=clock, client=lambda: client)
    current.set("a call")
    await keys.refresh()
    assert seen == ["nothing"]
    assert not client.is_closed
    await client.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "issuer.example",
        "ftp://issuer.example/",
        "http://issuer.example/",
        "https://user:pw@issuer.example/",
        "https:///x",
    ],
)
def test_urls_that_are_refused(url):
    """Keys come over HTTPS, or from this machine; credentials have no place in the URL, nor in the refusal."""
    with pytest.raises(InvalidArgument) as caught:
        Jwks(url)
    assert caught.value.code == "invalid_jwks_url"
    assert "pw" not in caught.value.message


def test_urls_that_are_taken():
    """HTTPS anywhere, HTTP on loopback, and HTTP elsewhere when it is allowed."""
    for url in ("https://issuer.example/a", "http://127.0.0.1:1/", "http://[::1]/", "http://localhost/"):
        assert Jwks(url).url == url
    assert Jwks("http://issuer/", allow_http=True).url


def test_without_httpx(monkeypatch):
    """Without the package that fetches, the fault names the extra, unless a client is given."""
    monkeypatch.setattr(module, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _name: None)))
    with pytest.raises(FailedPrecondition) as caught:
        Jwks("https://issuer.example/")
    assert caught.value.code == "extra_missing"
    assert Jwks("https://issuer.example/", client=httpx.AsyncClient).url


def test_which_keys_are_taken():
    """Only public keys for signatures are taken, each for the algorithms of its own type."""
    ec, ed, rsa = SigningPair("ec"), SigningPair("ed", "EdDSA"), SigningPair("rsa", "RS256")
    found = KeySet.parse(
        {
            "keys": [
                ec.jwk(),
                ed.jwk(use=None),
                rsa.jwk(key_ops=["verify"]),
                rsa.jwk(kid="ps", alg="PS256"),
                ec.jwk(kid="encryption", use="enc"),
                ec.jwk(kid="signing only", key_ops=["sign"]),
                ec.jwk(kid="other", alg="RS256"),
                ec.jwk(kid="curve", crv="P-999"),
                ec.jwk(kid="broken", x="AA"),
                ec.jwk(kid="k" * 256),
                ec.jwk(kid=7),
                {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
                "no key",
            ]
        }
    )
    assert len(found) == 4
    assert found.find("ec", "ES256").algorithms == {"ES256"}
    assert found.find("ed", "EdDSA") is not None
    assert found.find("rsa", "PS512") is not None
    assert found.find("ps", "PS256") is not None
    for kid, algorithm in (("ps", "RS256"), ("ec", "ES384"), ("ec", "HS256"), ("secret", "HS256"), ("rsa", "none")):
        assert found.find(kid, algorithm) is None
    assert found.find(None, "ES256").kid == "ec"
    assert found.find(None, "PS256") is None


def test_keys_this_machine_cannot_use_are_left_out(monkeypatch):
    """A curve the cryptography library was built without costs that key, not the whole set."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from jwt.algorithms import OKPAlgorithm

    def refuse(_entry):
        raise UnsupportedAlgorithm("not in this build")

    monkeypatch.setattr(OKPAlgorithm, "from_jwk", refuse)
    document = {"keys": [SigningPair("ed", "EdDSA").jwk(), SigningPair("ec").jwk()]}
    assert len(KeySet.parse(document)) == 1


def test_private_halves_are_not_read():
    """Of a key that was published with its private half only the public one is kept."""
    pair = SigningPair("one")
    from jwt.algorithms import ECAlgorithm

    entry = json.loads(ECAlgorithm.to_jwk(pair.key)) | {"kid": "one"}
    assert "d" in entry
    assert not hasattr(KeySet.parse({"keys": [entry]}).find("one", "ES256").key, "private_numbers")


def test_weak_keys_are_left_out():
    """An RSA key of less than 2048 bits verifies nothing."""
    from cryptography.hazmat.primitives.asymmetric import rsa

    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - that is the point
    with pytest.raises(ValueError, match="no public key"):
        KeySet.parse({"keys": [SigningPair("weak", "RS256", weak).jwk()]})


async def test_fixed_keys():
    """Keys that never change need no address."""
    keys = FixedKeys({"keys": [SigningPair("one").jwk()]})
    assert keys.current() is await keys.refresh()
    assert not keys.may_refresh()
