"""What must never be shown."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.redaction import MASK, Redactor, is_secret_name, redact, redact_text

SECRET = "s3cr3t-Value-9"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "token", "access_token", "PASSWORD", "db_password", "privateKey",
        "private_key_pem", "client-secret", "X-Api-Key", "Cookie", "set-cookie", "ciphertext", "credentials",
        "db_pwd", "passcode", "AccountKey",
    ],
)  # fmt: skip
def test_names_that_hold_secrets(name):
    """A header, key or setting that holds a secret is recognised in any spelling."""
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["token_id", "secret_name", "admin_token_file", "secret_key_file", "author", "kind"])
def test_names_that_only_speak_of_secrets(name):
    """A name, file, id or count of a secret is no secret."""
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        f"Bearer {SECRET}",
        f"got header authorization: bearer {SECRET}, sorry",
        f"Basic {SECRET}",
        f"postgresql+asyncpg://user:{SECRET}@db/headgate",
        f"GET /x?access_token={SECRET}&limit=2",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        "hg_" + SECRET * 4,
    ],
)
def test_secrets_inside_texts(text):
    """Credentials, tokens, private keys and passwords in URLs are masked inside any text."""
    cleaned = redact_text(text)
    assert SECRET not in cleaned
    assert MASK in cleaned


def test_what_is_kept():
    """Values that are no secrets stay as they are, so that a log line remains of use."""
    event = {"path": "/orders?limit=2", "team": "default", "status": 200, "seconds": 0.5, "ok": True, "none": None}
    assert redact(event) == event
    assert redact_text("http://127.0.0.1:8080/a") == "http://127.0.0.1:8080/a"


def test_other_types_become_text():
    """Paths, bytes and objects become text, a broken repr included."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    assert redact({"a": Path("x"), "b": b"\xff", "c": Broken()}) == {
        "a": "PosixPath('x')",
        "b": "\\xff",
        "c": "<Broken>",
    }


def test_header_pairs():
    """A pair counts as name and value, as ASGI writes headers."""
    masked = redact([(b"authorization", b"anything"), (b"accept", b"*/*")])
    assert masked == [["authorization", MASK], ["accept", "*/*"]]
    assert redact([["x-api-key", "anything"], ["accept", "*/*"]]) == [["x-api-key", MASK], ["accept", "*/*"]]


@pytest.mark.parametrize("key", ["abcd1234", "wLq3-8charsormore"])
def test_keys_as_short_as_they_may_be(key):
    """The shortest key that is accepted is masked where its header is told of."""
    assert redact_text(f"sent X-API-Key: {key}") == f"sent X-API-Key: {MASK}"


def test_cycles_end():
    """A value that holds itself is cut off."""
    value: dict[str, object] = {}
    value["self"] = value
    assert "..." in str(redact(value))


nested = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(st.text(), inner),
    max_leaves=20,
)


@given(nested)
def test_redaction_is_total_and_idempotent(value):
    """Redacting never raises, and redacting twice changes nothing more."""
    once = redact(value)
    assert redact(once) == once


@given(
    st.lists(st.sampled_from(["a", "headers", "items"]), max_size=6),
    st.sampled_from(["Authorization", "api_key", "password", "set-cookie"]),
)
def test_no_depth_hides_a_secret(path, name):
    """A secret under a secret-looking name is masked wherever it is nested."""
    value: object = {name: SECRET}
    for step in path:
        value = [value] if step == "items" else {step: value}
    assert SECRET not in str(redact(value))


TOKENS = (
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "sk-proj-abcdefghijklmnop1234",
    "sk_live_abcdefghij1234567890",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "github_pat_11ABCDEFG0abcdefghijkl_mnop",
    "glpat-abcdefghijklmnop1234",
    "xoxb-123456789012-abcdefghijkl",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "npm_abcdefghijklmnopqrstuvwxyz0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJlLW9mLWE",
    "hg_abcdefghijklmnopqrstuvwxyz",
    "gsk_abcdefghijklmnopqrstuvwxyz0123",
    "xai-abcdefghijklmnopqrstuvwxyz0123",
    "nvapi-abcdefghijklmnopqrstuvwx-0123",
    "r8_abcdefghijklmnopqrstuvwxyz0123",
    "hvs.abcdefghijklmnopqrstuvwx0123",
)


@pytest.mark.parametrize("token", TOKENS)
def test_d20_known_kinds_of_tokens_are_masked_anywhere(token):
    """A token known by its form is masked whole in a message, a path, an exception and any nested value."""
    for text in (f"upstream said: {token} is expired", f"/reset/{token}/now", f"a={token}", f"({token})", token):
        assert token[-12:] not in redact_text(text)
    masked = redact({"a": [{"b": (1, {"note": f"sent {token}"})}], "error": ValueError(f"refused {token}")})
    assert token[-12:] not in json.dumps(masked)


@pytest.mark.parametrize(
    "text",
    [
        f"failed with {{'user': 'ada', 'password': '{SECRET}'}}",
        f'body {{"client_secret": "{SECRET}", "a": 1}}',
        f'body {{\\"password\\": \\"{SECRET}\\"}}',
        f"headers [(b'x-api-key', b'{SECRET}'), (b'accept', b'*/*')]",
        f"Settings(password='two words {SECRET}', debug=False)",
        f'token="{SECRET}',
        f"X-API-Key: {SECRET}",
        f"cookie: theme=dark; session={SECRET}",
        f"authorization: AWS4-{SECRET}",
        f"redis://:{SECRET}@cache:6379/0",
        f"postgresql://ada:p@{SECRET}@db/shop",
        f"https://{SECRET}-{SECRET}@errors.example/1",
        f"authorization=Bearer%20{SECRET}",
        f"https://maps.example/api?key={SECRET}&zoom=3",
        f"https://a.blob.example/x?sv=1&sig={SECRET}&se=2",
        f"AccountName=shop;AccountKey={SECRET};EndpointSuffix=core",
        f"Server=db;Uid=shop;Pwd={SECRET};",
        f"Authorization: Token {SECRET}",
        f"curl -H 'Authorization: ApiKey {SECRET}' https://shop.example",
        f"proxy-authorization:Negotiate  {SECRET}",
        f"authorization: token%20{SECRET}",
    ],
)
def test_d20_secrets_named_inside_texts(text):
    """What a message or an exception says under a secret name, as JSON, repr, header or URL, is masked."""
    cleaned = redact_text(text)
    assert SECRET not in cleaned
    assert MASK in cleaned
    assert redact_text(cleaned) == cleaned
    assert SECRET not in json.dumps(redact({"exception": RuntimeError(text)}))


def test_what_surrounds_a_secret_is_kept():
    """Only the secret goes: the rest of the message stays readable."""
    assert redact_text(f"{{'user': 'ada', 'password': '{SECRET}', 'page': 2}}") == (
        f"{{'user': 'ada', 'password': '{MASK}', 'page': 2}}"
    )
    assert redact_text(f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----\nand so on") == (
        f"-----BEGIN PRIVATE KEY-----{MASK}\nand so on"
    )
    assert redact_text("'token_id': 'x', the task-of-the-day has a high weight") == (
        "'token_id': 'x', the task-of-the-day has a high weight"
    )


def test_counted_tokens_are_figures():
    """How many tokens a model used is no secret."""
    assert redact({"input_tokens": 512, "tokens": "abc"}) == {"input_tokens": 512, "tokens": MASK}


def test_a_secret_in_a_name_is_masked():
    """A credential that ended up as a key is masked too."""
    assert redact({f"Bearer {SECRET}": 1}) == {f"Bearer {MASK}": 1}


def test_wide_cycles_end():
    """A value that holds itself many times over is cut off soon."""
    value: list[object] = []
    value.extend([value] * 12)
    assert redact(value)


class Hostile(dict[str, object]):
    """A mapping that cannot be read."""

    def items(self):
        """Fail."""
        raise RuntimeError


def test_broken_objects_break_nothing():
    """A value that cannot be walked is shown by its type alone."""
    assert redact(Hostile()) == "<Hostile>"


def test_names_and_patterns_of_ones_own():
    """A service adds names, in any spelling, and patterns."""
    mask = Redactor(names=["Card-Number"], patterns=[r"ACME-[0-9]{4}"])
    value = {"card_number": 4111, "a": [{"cardNumber": "x"}], "note": "see ACME-1234", "text": "{'cardNumber': '41'}"}
    assert mask.value(value) == {
        "card_number": MASK, "a": [{"cardNumber": MASK}], "note": f"see {MASK}", "text": f"{{'cardNumber': '{MASK}'}}",
    }  # fmt: skip
    assert mask.text("Bearer abc") == f"Bearer {MASK}"


@pytest.mark.parametrize("pattern", ["(", ".*", r"\*"])
def test_patterns_that_cannot_be(pattern):
    """A pattern that does not compile, or would mask the mask, is refused."""
    with pytest.raises(ValueError, match=r"is not a regular expression|matches the mask"):
        Redactor(patterns=[pattern])


FRAGMENTS = st.sampled_from(
    [
        "password", "token", "=", ":", "'", '"', "\\", " ", "@", "://", "/", "bearer", "basic ", "eyJ", "sk-", "***",
        "abcdefghijklmnop", "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "cookie", "authorization",
        "(", "[b", ",", "x-api-key", "hg_", "AKIA", "%20", "\n", "key", "?", "ABCDEFGHIJKLMNOPQRST", "_id", "{", "}",
        ".", "-", "gsk_", "hvs.", "xai-", "sig", "&", "negotiate ",
    ]
)  # fmt: skip


@given(st.lists(FRAGMENTS, max_size=30).map("".join))
def test_texts_made_of_what_the_rules_look_for(text):
    """Whatever the pieces are put together to, masking twice changes nothing more."""
    once = redact_text(text)
    assert redact_text(once) == once


@pytest.mark.parametrize(
    "piece",
    [
        "a", "a://b:", "://a:b@", "a:@", "bearer ", " ", "eyJ-", "eyJ", "'a", '"', "password=\"", "-----BEGIN ", "sk-",
        "-----BEGIN PRIVATE KEY-----", "-----END A", "\\", "('a',", "cookie:", "'a':", "key ", "key", "x-api-key: a",
        "authorization: token ", "gsk_", "&sig=",
    ],
)  # fmt: skip
@pytest.mark.parametrize("end", ["", " token= 'password' bearer", "'key':", "@ hg_ sk- ://"])
def test_time_grows_with_the_text_alone(piece, end):
    """No text, however made, takes more than time in proportion to its length."""
    text = piece * (200_000 // len(piece)) + end
    began = time.process_time()
    redact_text(text)
    # In quadratic time this would be minutes.
    assert time.process_time() - began < 5
