"""Certificates for a server and for dataplanes with a SPIFFE id."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


class Authority:
    """Signs certificates; `pem` is its own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("test authority")
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.pem = _pem(builder.sign(self._key, hashes.SHA256()))

    def issue(self, *names: x509.GeneralName) -> tuple[bytes, bytes]:
        """Return a certificate with these subject alternative names, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_name("peer"), key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return _pem(builder.sign(self._key, hashes.SHA256())), encoded

    def server_files(self, directory: Path) -> dict[str, Path]:
        """Write what a server on 127.0.0.1 needs; return it as settings."""
        certificate, key = self.issue(LOOPBACK)
        contents = {"xds_tls_certificate": certificate, "xds_tls_key": key, "xds_tls_client_ca": self.pem}
        for name, content in contents.items():
            (directory / name).write_bytes(content)
        return {name: directory / name for name in contents}

    def credentials(self, uri: str) -> grpc.ChannelCredentials:
        """What a client with this URI as its identity connects with."""
        certificate, key = self.issue(x509.UniformResourceIdentifier(uri))
        return grpc.ssl_channel_credentials(self.pem, key, certificate)

    def _builder(self, subject: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(hours=1))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
