"""What must never be shown."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls.redaction import MASK, is_secret_name, redact, redact_text

SECRET = "s3cr3t-Value-9"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "proxy-authorization", "token", "access_token", "PASSWORD", "db_password", "privateKey",
        "private_key_pem", "client-secret", "X-Api-Key", "Cookie", "set-cookie", "ciphertext", "credentials",
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
