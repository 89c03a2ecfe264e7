"""Secrets are sealed, told apart, and never shown."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from headgate.controlplane.core.secretbox import SecretBox, redact
from headgate.controlplane.model.rows import Row
from headgate.kit.controls.faults import DataLoss, InvalidArgument
from tests.controlplane.core.conftest import KEY, Pair


def test_a_sealed_secret_opens_to_what_it_was(box: SecretBox, pair: Pair) -> None:
    """Sealing and opening gives the document back, and what lies between shows nothing of it."""
    sealed = box.seal("t", "s", pair.tls())
    assert pair.key[40:80] not in str(sealed)
    assert box.open("t", "s", sealed) == pair.tls()
    assert box.reveal("t", Row("secret", "s", sealed)).spec == pair.tls()
    plain = Row("cluster", "c", {})
    assert box.reveal("t", plain) is plain


def test_equal_content_has_one_fingerprint(box: SecretBox, pair: Pair, other_pair: Pair) -> None:
    """Content can be compared without opening it, and only by who has the key."""
    one, two = box.seal("t", "s", pair.tls()), box.seal("t", "s", pair.tls())
    assert one["ciphertext"] != two["ciphertext"]
    assert one["fingerprint"] == two["fingerprint"]
    assert one["fingerprint"] != box.seal("t", "s", other_pair.tls())["fingerprint"]
    assert one["fingerprint"] != SecretBox(KEY[::-1]).seal("t", "s", pair.tls())["fingerprint"]


@pytest.mark.parametrize("where", ["team", "name", "key", "bytes", "garbage"])
def test_a_secret_opens_only_where_it_belongs(box: SecretBox, pair: Pair, where: str) -> None:
    """Another team, another name, another key or changed bytes do not open it."""
    sealed: dict[str, Any] = box.seal("t", "s", pair.ca())
    if where == "bytes":
        sealed["ciphertext"] = ("B" if sealed["ciphertext"][0] == "A" else "A") + sealed["ciphertext"][1:]
    if where == "garbage":
        sealed["ciphertext"] = "?"
    opener = SecretBox(KEY[::-1]) if where == "key" else box
    with pytest.raises(DataLoss) as refused:
        opener.open("u" if where == "team" else "t", "r" if where == "name" else "s", sealed)
    assert refused.value.code == "secret_unreadable"


def test_the_summary_tells_the_leaf_and_no_more(box: SecretBox, pair: Pair) -> None:
    """Subject, names, validity, serial and fingerprint of the certificate may be shown."""
    sealed = box.seal("t", "s", pair.tls())
    shown = redact(sealed)
    assert shown == {
        "type": "tls_certificate",
        "subject": "CN=shop.example",
        "subject_alt_names": ["shop.example", "www.shop.example"],
        "not_before": pair.x509.not_valid_before_utc.isoformat(),
        "not_after": pair.x509.not_valid_after_utc.isoformat(),
        "serial": f"{pair.x509.serial_number:x}",
        "sha256": pair.x509.fingerprint(SHA256()).hex(),
        "fingerprint": sealed["fingerprint"],
    }
    authorities = redact(box.seal("t", "ca", {"trusted_ca": pair.certificate * 2}))
    assert authorities["type"] == "trusted_ca"
    assert len(authorities["certificates"]) == 2


def _encrypted_key() -> str:
    key = generate_private_key(SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase")).decode()


def test_what_is_no_certificate_or_key_is_refused(box: SecretBox, pair: Pair, other_pair: Pair) -> None:
    """A PEM that does not parse, an encrypted key and a key of another certificate are refused with a pointer."""
    rubbish = "-----BEGIN RUBBISH-----\nc2VjcmV0IHN0dWZm\n-----END RUBBISH-----\n"
    torn = pair.certificate[:200]
    chain, key = "/tls_certificate/certificate_chain", "/tls_certificate/private_key"
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"trusted_ca": rubbish}, "/trusted_ca", "invalid_pem"),
        ({"trusted_ca": torn}, "/trusted_ca", "invalid_pem"),
        ({"tls_certificate": {"certificate_chain": rubbish, "private_key": pair.key}}, chain, "invalid_pem"),
        ({"tls_certificate": {"certificate_chain": pair.certificate, "private_key": rubbish}}, key, "invalid_pem"),
        (
            {"tls_certificate": {"certificate_chain": pair.certificate, "private_key": _encrypted_key()}},
            key,
            "invalid_pem",
        ),
        (
            {"tls_certificate": {"certificate_chain": pair.certificate, "private_key": other_pair.key}},
            key,
            "key_mismatch",
        ),
    ]
    for document, pointer, code in cases:
        with pytest.raises(InvalidArgument) as refused:
            box.seal("t", "s", document)
        assert (refused.value.violations[0].pointer, refused.value.code) == (pointer, code)
        said = f"{refused.value} {refused.value.hint} {refused.value.internal} {refused.value.violations}"
        assert "c2VjcmV0" not in said
        assert pair.certificate[40:80] not in said


def test_a_key_of_another_length_is_refused() -> None:
    """The box takes 32 bytes and nothing else."""
    with pytest.raises(InvalidArgument):
        SecretBox(b"short")
