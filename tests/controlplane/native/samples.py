"""Documents for tests, and what each kind needs to be there first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

KINDS = ("clusters", "route-configs", "listeners", "secrets")


def certificate(name: str) -> dict[str, str]:
    """A self-signed certificate for a DNS name, and its key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {"certificate_chain": signed.public_bytes(Encoding.PEM).decode(), "private_key": private.decode()}


def cluster(port: int = 3001, **more: Any) -> dict[str, Any]:
    """A cluster with one endpoint on this machine."""
    return {"endpoints": [{"address": "127.0.0.1", "port": port}], **more}


def route(name: str, path: str = "/", to: str = "orders", **more: Any) -> dict[str, Any]:
    """A route that forwards a prefix."""
    return {"name": name, "match": {"path": {"prefix": path}}, "forward": {"cluster": to, **more}}


def route_config(*routes: dict[str, Any]) -> dict[str, Any]:
    """A route config with one virtual host `all`."""
    return {"virtual_hosts": [{"name": "all", "domains": ["*"], **({"routes": list(routes)} if routes else {})}]}


def listener(port: int = 18_443, to: str = "web") -> dict[str, Any]:
    """A listener that serves a route config."""
    return {"port": port, "filter_chains": [{"name": "http", "http": {"route_config": to}}]}


class Kind:
    """One kind under test: a first and a second document, a merge patch, and what it makes of the first one."""

    def __init__(self, pem: dict[str, str], plural: str) -> None:
        self.plural = plural
        self.first, self.second, self.patch, self.patched = {
            "clusters": (
                cluster(),
                cluster(3002),
                {"connect_timeout_ms": 250},
                cluster(connect_timeout_ms=250),
            ),
            "route-configs": (
                route_config(route("one")),
                route_config(route("one"), route("two", "/two")),
                {"request_headers": {"remove": ["x-debug"]}},
                {**route_config(route("one")), "request_headers": {"remove": ["x-debug"]}},
            ),
            "listeners": (
                listener(),
                listener(18_444),
                {"max_connections": 7},
                {**listener(), "max_connections": 7},
            ),
            "secrets": (
                {"tls_certificate": pem},
                {"trusted_ca": pem["certificate_chain"]},
                {"tls_certificate": None, "trusted_ca": pem["certificate_chain"]},
                {"trusted_ca": pem["certificate_chain"]},
            ),
        }[plural]

    def shown(self, spec: dict[str, Any], found: dict[str, Any]) -> bool:
        """Whether what was answered shows this specification: as it is, or, of a secret, its type only."""
        if self.plural != "secrets":
            return found == spec
        return found["type"] in spec and bool(found["fingerprint"]) and "-----" not in str(found)


async def provide(api: httpx.AsyncClient) -> None:
    """Make what the samples refer to: cluster `orders` and route config `web`."""
    changes = [
        {"operation": "put", "kind": "cluster", "name": "orders", "spec": cluster()},
        {"operation": "put", "kind": "route_config", "name": "web", "spec": route_config(route("one"))},
    ]
    answer = await api.post("/changes", json={"changes": changes})
    assert answer.status_code == 200, answer.text
