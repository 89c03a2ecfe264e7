"""A certificate authority for tests.

    authority = Authority()
    certificate, key = authority.issue("127.0.0.1", "spiffe://shop.example/orders").write(tmp_path, "server")
    authority.write(tmp_path / "ca.pem")

Keys are P-256; a certificate lives for an hour. Needs the package cryptography.
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Issued(NamedTuple):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, stem: str) -> tuple[Path, Path]:
        """Write `stem`.pem and `stem`.key, each in one step as a rotation should; return their paths."""
        files = directory / f"{stem}.pem", directory / f"{stem}.key"
        for path, content in zip(files, self, strict=True):
            fresh = path.with_suffix(path.suffix + ".new")
            fresh.write_bytes(content)
            fresh.replace(path)
        return files


class Authority:
    """Signs certificates; `pem` is its own."""

    def __init__(self, name: str = "test authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _subject(name)
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = _pem(builder.sign(self._key, hashes.SHA256()))

    def write(self, path: Path) -> Path:
        """Write its own certificate."""
        path.write_bytes(self.pem)
        return path

    def issue(self, *names: str, common_name: str = "peer") -> Issued:
        """A certificate for `names`: IP addresses, URIs (with `://`) and DNS names."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_subject(common_name), key.public_key())
        if names:
            alternatives = x509.SubjectAlternativeName([_general(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Issued(_pem(builder.sign(self._key, hashes.SHA256())), encoded)

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(hours=1))


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _subject(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
