"""API keys: the setting, and keys in calls."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.api_keys import ApiKey, ApiKeys, hashed
from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import InvalidArgument, Unauthenticated

KEY = "wLq3Vh8sTz0aYc5dNf7gJk2mPr4uXw6b"
OTHER = "Zx9Wv8Ut7Sr6Qp5On4Ml3Kj2Ih1Gf0Ed"
DIGEST = sha256(KEY.encode()).hexdigest()


def call(*headers: tuple[str, str], protocol="http"):
    """A call with these headers."""
    return Call(protocol, "GET", "/", [(name.encode(), value.encode("latin-1")) for name, value in headers], "", 0.0)


@pytest.mark.parametrize(
    ("entry", "name", "scopes"),
    [
        (KEY, DIGEST[:8], {"*"}),
        (f"ci={KEY}", "ci", {"*"}),
        (f" ci = {KEY} ", "ci", {"*"}),
        (f"sha256:{DIGEST}", DIGEST[:8], {"*"}),
        (f"ci=sha256:{DIGEST}", "ci", {"*"}),
        (f"ci=SHA256:{DIGEST.upper()}", "ci", {"*"}),
        (f"ci[orders:read]={KEY}", "ci", {"orders:read"}),
        (f"ci[orders:read | orders:write]=sha256:{DIGEST}", "ci", {"orders:read", "orders:write"}),
        (f"ci[]={KEY}", "ci", set()),
    ],
)
def test_forms(entry, name, scopes):
    """A key is written plain or as its digest, with or without a name and scopes; without brackets it may all."""
    principal = ApiKeys.parse(entry).find(KEY.encode())
    assert principal is not None
    assert (principal.id, principal.kind, principal.scopes) == (name, "api_key", scopes)
    assert ApiKeys.parse(entry).find(OTHER.encode()) is None


def test_several():
    """Several keys are separated by commas, and empty parts between them are nothing."""
    keys = ApiKeys.parse(f"a={KEY}, b={OTHER},,")
    assert [keys.find(each.encode()).id for each in (KEY, OTHER)] == ["a", "b"]
    assert len(keys) == 2
    assert len(ApiKeys.parse("")) == 0


def test_rotation():
    """Two keys of one name are the same principal, so that one can take over from the other."""
    keys = ApiKeys.parse(f"ci={KEY},ci={OTHER}")
    assert keys.find(KEY.encode()) == keys.find(OTHER.encode())


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("short", "8 to 512 characters"),
        ("x" * 513, "8 to 512 characters"),
        ("ci=", "has no key"),
        ("ci[orders:read]=", "has no key"),
        (f"={KEY}", "no name before '='"),
        ("c2VjcmV0a2V5cXF4eA==", "ends in '='"),
        (f"two words={KEY}", "name must be"),
        (f"-ci={KEY}", "name must be"),
        (f"ci[a b]={KEY}", "scopes must be"),
        (f"ci{{a}}={KEY}", "name must be"),
        ("key with spaces", "visible ASCII"),
        ("schlüssel-schlüssel", "visible ASCII"),
        ("sha256:abc", "64 hexadecimal digits"),
        (f"ci=sha256:{DIGEST[:-1]}g", "64 hexadecimal digits"),
    ],
)
def test_what_cannot_be_read(entry, says):
    """What cannot be read is refused with the number of the entry and the reason, and without its text."""
    with pytest.raises(InvalidArgument) as caught:
        ApiKeys.parse(f"good={OTHER},{entry}")
    fault = caught.value
    assert (fault.code, fault.violations[0].pointer) == ("invalid_api_keys", "/1")
    assert says in fault.message
    assert "API key 2" in fault.message
    for text in (KEY, DIGEST, OTHER, "c2VjcmV0", "schlüssel-", "two words"):
        assert text not in f"{fault.message} {fault.hint} {fault.internal}"


def test_the_same_key_twice():
    """One key under two names would be two principals at once, and is refused, plain or as digest."""
    with pytest.raises(InvalidArgument, match="same key"):
        ApiKeys.parse(f"a={KEY},b=sha256:{DIGEST}")


def test_weak_keys_are_named():
    """Short keys are named, so that a production profile can refuse them; digests tell no length."""
    assert ApiKeys.parse(f"a=12345678,b={KEY},c=sha256:{DIGEST[::-1]}").weak == ("a",)


def test_what_is_kept_of_a_key():
    """Neither key nor digest is shown by any repr, and the text of a key is not kept."""
    keys = ApiKeys.parse(f"ci={KEY}")
    shown = repr(keys) + repr(keys.keys) + repr(vars(keys)["_principals"].values())
    assert KEY not in shown + str(vars(keys))
    assert DIGEST not in shown
    assert repr(ApiKey.of(KEY).digest) not in shown


def test_hashed():
    """`hashed` gives the form in which a setting does not tell the key."""
    assert ApiKeys.parse(f"ci={hashed(KEY)}").find(KEY.encode()) is not None


@pytest.mark.parametrize("protocol", ["http", "websocket", "grpc", "grpc-web", "connect"])
@pytest.mark.parametrize(
    "header",
    [
        ("x-api-key", KEY),
        ("authorization", f"Bearer {KEY}"),
        ("authorization", f"bearer  {KEY}"),
        ("authorization", f"ApiKey {KEY}"),
        ("authorization", f"APIKEY {KEY}"),
    ],
)
def test_presented(header, protocol):
    """A key is taken from `X-API-Key` and from `Authorization`, over every protocol alike."""
    assert ApiKeys.parse(f"ci={KEY}")(call(header, protocol=protocol)).id == "ci"


@pytest.mark.parametrize(
    "header", [("x-api-key", OTHER), ("x-api-key", ""), ("authorization", f"ApiKey {OTHER}"), ("x-api-key", "k" * 9999)]
)
def test_unknown_key(header):
    """A key that is not known is refused, and the refusal does not repeat it."""
    with pytest.raises(Unauthenticated) as caught:
        ApiKeys.parse(KEY)(call(header))
    assert caught.value.code == "invalid_api_key"
    assert OTHER not in str(vars(caught.value))


@pytest.mark.parametrize(
    "headers", [[], [("authorization", "Basic YTpi")], [("authorization", f"Bearer {OTHER}")], [("cookie", KEY)]]
)
def test_nothing_of_its_own(headers):
    """Without a key, and for a bearer token that others may know, nothing is said."""
    assert ApiKeys.parse(KEY)(call(*headers)) is None


@given(st.text(max_size=40))
def test_parsing_is_total(text):
    """Any setting is either read or refused with a fault."""
    try:
        ApiKeys.parse(text)
    except InvalidArgument:
        return
