"""What a PEM holds: parsed before it is kept, and summed up without its content."""

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from headgate.controlplane.model.rows import Document
from headgate.kit.controls.faults import InvalidArgument, Violation

_MOST = 1000


def summarise(document: Document) -> dict[str, Any]:
    """What may be shown of a Secret document.

    {"type": "tls_certificate", "subject", "subject_alt_names", "not_before", "not_after", "serial", "sha256"}
    of the leaf, or {"type": "trusted_ca", "certificates": [the same of each]}. Times are ISO 8601 in UTC.
    Raises InvalidArgument (`invalid_pem`, `key_mismatch`) with a pointer, never with the content.
    """
    if "trusted_ca" in document:
        authorities = _certificates(document["trusted_ca"], "/trusted_ca")
        return {"type": "trusted_ca", "certificates": [_describe(certificate) for certificate in authorities]}
    pair = document["tls_certificate"]
    chain = _certificates(pair["certificate_chain"], "/tls_certificate/certificate_chain")
    _require_match(chain[0], pair["private_key"], "/tls_certificate/private_key")
    return {"type": "tls_certificate", **_describe(chain[0])}


def _certificates(pem: str, pointer: str) -> Sequence[x509.Certificate]:
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        for certificate in found:
            _public_bytes(certificate)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _refusal(
            pointer, "does not hold certificates in PEM", "One or more -----BEGIN CERTIFICATE----- blocks, whole."
        ) from None
    if len(found) > _MOST:
        raise _refusal(pointer, f"holds {len(found)} certificates; at most {_MOST} are taken", "")
    return found


def _require_match(leaf: x509.Certificate, pem: str, pointer: str) -> None:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except TypeError:
        raise _refusal(pointer, "is encrypted", "Give the key without a passphrase.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise _refusal(pointer, "does not hold a private key in PEM", "One PKCS#8, RSA or EC key block.") from None
    if not _served_by_envoy(key):
        raise _refusal(
            pointer, "is of a kind Envoy refuses", "RSA of 2048 bits or more, or EC on P-256, P-384 or P-521."
        )
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public != _public_bytes(leaf):
        raise _refusal(
            pointer,
            "is not the key of the first certificate in certificate_chain",
            "Put the leaf first in the chain, and give its key.",
            code="key_mismatch",
        )


def _served_by_envoy(key: object) -> bool:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size >= 2048
    return isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(
        key.curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1
    )


def _public_bytes(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _describe(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "subject_alt_names": _subject_alt_names(certificate),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(SHA256()).hex(),
    }


def _subject_alt_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [
        str(name.value)
        for name in names
        if isinstance(name, x509.DNSName | x509.IPAddress | x509.UniformResourceIdentifier)
    ]


def _refusal(pointer: str, message: str, hint: str, code: str = "invalid_pem") -> InvalidArgument:
    return InvalidArgument(
        f"{pointer} {message}.", code=code, hint=hint, violations=[Violation(pointer, message, hint)]
    )
