"""Use cases on a fresh store with team `default`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from headgate.controlplane.core.resources import Resources
from headgate.controlplane.core.secretbox import SecretBox
from headgate.controlplane.core.teams import Teams
from headgate.controlplane.store.store import Store
from tests.controlplane.core.documents import ME, TEAM

KEY = bytes(range(32))


class Pair:
    """A self-signed certificate and its key, in PEM."""

    def __init__(self, names: Sequence[str]) -> None:
        key: EllipticCurvePrivateKey = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        now = datetime.now(UTC).replace(microsecond=0)
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        built = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        built = built.not_valid_before(now).not_valid_after(now + timedelta(days=30))
        self.x509 = built.add_extension(alternatives, critical=False).sign(key, SHA256())
        self.certificate = self.x509.public_bytes(Encoding.PEM).decode()
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def tls(self) -> dict[str, dict[str, str]]:
        """A Secret document with certificate and key."""
        return {"tls_certificate": {"certificate_chain": self.certificate, "private_key": self.key}}

    def ca(self) -> dict[str, str]:
        """A Secret document that trusts the certificate."""
        return {"trusted_ca": self.certificate}


@pytest.fixture(scope="session")
def pair() -> Pair:
    """A certificate for shop.example and www.shop.example."""
    return Pair(["shop.example", "www.shop.example"])


@pytest.fixture(scope="session")
def other_pair() -> Pair:
    """Another certificate."""
    return Pair(["other.example"])


@pytest.fixture
def box() -> SecretBox:
    """A secret box with a fixed key."""
    return SecretBox(KEY)


@pytest.fixture
async def resources(store: Store, box: SecretBox) -> Resources:
    """The use cases, without Envoy's gate, on a store that has team `default`."""
    await Teams(store).create(ME, TEAM)
    return Resources(store, preflight=None, secrets=box)
