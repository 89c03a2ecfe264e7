"""Client certificates, and whom they prove."""

import base64
import datetime as dt
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from headgate.kit.controls import certificates
from headgate.kit.controls.call import Call
from headgate.kit.controls.certificates import (
    UNREADABLE,
    MtlsAuthenticator,
    SpiffeId,
    certificate_from_der,
    certificate_from_pem,
    certificate_of_peer,
    certificate_of_scope,
    parse_certificate_scopes,
)
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, Unauthenticated
from headgate.kit.controls.principal import Certificate

SPIFFE = "spiffe://shop.example/orders"
NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def made(*, cn="", dns=(), uris=(), emails=(), authority=None):
    """A certificate in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, cn)] if cn else [])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW)
        .not_valid_after(NOW + dt.timedelta(days=1))
    )
    names = [
        *map(x509.DNSName, dns),
        *map(x509.UniformResourceIdentifier, uris),
        *map(x509.RFC822Name, emails),
    ]
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if authority is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def call(certificate):
    """A call with this certificate."""
    found = Call("http", "GET", "/", [], "", 0.0)
    found.certificate = certificate
    return found


def identify(authenticator=None, /, **names):
    """The principal of a certificate with these names."""
    return (authenticator or MtlsAuthenticator())(call(certificate_from_pem(made(**names))))


def test_what_is_read():
    """Names of every kind, the subject and the SHA-256 fingerprint are read, from PEM and from DER."""
    pem = made(cn="orders", dns=["a.example", "b.example"], uris=[SPIFFE], emails=["ops@shop.example"])
    parsed = x509.load_pem_x509_certificate(pem)
    expected = Certificate(
        subject="CN=orders",
        common_name="orders",
        dns_names=("a.example", "b.example"),
        uris=(SPIFFE,),
        emails=("ops@shop.example",),
        fingerprint=parsed.fingerprint(hashes.SHA256()).hex(),
    )
    assert certificate_from_pem(pem) == expected
    assert certificate_from_pem(pem.decode()) == expected
    assert certificate_from_pem(b"leading text\n" + pem + made(cn="an issuer")) == expected
    assert certificate_from_der(parsed.public_bytes(Encoding.DER)) == expected


def test_remembered_within_bounds():
    """A certificate is parsed once, and what is remembered of them is bounded."""
    pem = made(cn="once")
    assert certificate_from_pem(pem) is certificate_from_pem(bytes(pem))
    assert certificates._read_der.cache_info().maxsize == certificates.CACHED
    authenticator = MtlsAuthenticator(cache_size=2)
    for number in range(5):
        authenticator(call(Certificate(common_name="x", fingerprint=str(number))))
    assert len(authenticator._known) == 2


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        "nothing",
        b"-----BEGIN CERTIFICATE-----\nAAA=\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----",
        b"-----BEGIN CERTIFICATE-----" + b"A" * 100_000 + b"-----END CERTIFICATE-----",
        made(cn="cut")[:200],
    ],
)
def test_unreadable(pem):
    """What is no certificate is a fault for who parses it, and refused by who asks for identities."""
    with pytest.raises(Unauthenticated) as caught:
        certificate_from_pem(pem)
    assert caught.value.code == "certificate_malformed"
    assert certificate_of_peer({"x509_pem_cert": [pem]}) is UNREADABLE
    with pytest.raises(Unauthenticated) as caught:
        MtlsAuthenticator()(call(UNREADABLE))
    assert caught.value.code == "certificate_malformed"


def test_where_shells_find_it():
    """The certificate is found in the ASGI TLS extension and in the peer's auth context, when it was verified."""
    pem = made(cn="orders")
    chain = {"extensions": {"tls": {"client_cert_chain": [pem.decode(), "issuer"], "client_cert_error": None}}}
    assert certificate_of_scope(chain).common_name == "orders"
    assert certificate_of_peer({"x509_pem_cert": [pem]}).common_name == "orders"
    chain["extensions"]["tls"]["client_cert_error"] = "expired"
    assert certificate_of_scope(chain) is None
    for scope in ({}, {"extensions": None}, {"extensions": {}}, {"extensions": {"tls": {"client_cert_chain": ()}}}):
        assert certificate_of_scope(scope) is None
    assert certificate_of_peer({}) is None


@pytest.mark.parametrize(
    ("names", "principal"),
    [
        ({"cn": "orders", "dns": ["Orders.Internal", "b"], "uris": [SPIFFE]}, SPIFFE),
        ({"cn": "orders", "dns": ["Orders.Internal", "b"]}, "dns:orders.internal"),
        ({"cn": "orders", "dns": ["a"], "uris": ["https://shop.example/"]}, "dns:a"),
        ({"cn": "orders"}, "cn:orders"),
    ],
)
def test_principal(names, principal):
    """The SPIFFE id names the principal, else the first DNS name, else the common name; each kind is marked."""
    found = identify(**names)
    assert (found.id, found.kind) == (principal, "mtls")
    assert found.extra.fingerprint


def test_no_certificate_is_no_identity():
    """A call without a certificate presented nothing."""
    assert MtlsAuthenticator()(call(None)) is None


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ({}, "certificate_unnamed"),
        ({"cn": "a\nb"}, "certificate_unnamed"),
        ({"dns": ["d" * 256]}, "certificate_unnamed"),
        ({"uris": ["spiffe://Shop.example/orders"]}, "spiffe_id_invalid"),
        ({"uris": ["SPIFFE://shop.example/orders"], "cn": "orders"}, "spiffe_id_invalid"),
        ({"uris": ["spiffe://shop.example"], "cn": "orders"}, "spiffe_id_invalid"),
        ({"uris": [SPIFFE, "spiffe://shop.example/admin"]}, "spiffe_id_invalid"),
        ({"uris": [SPIFFE, "https://shop.example/"]}, "spiffe_id_invalid"),
    ],
)
def test_refused_certificates(names, code):
    """A certificate that names nobody, or breaks SPIFFE's rules, is refused and falls back on no other name."""
    with pytest.raises(Unauthenticated) as caught:
        identify(**names)
    assert caught.value.code == code


def test_authorities_are_no_workloads():
    """A certificate that may sign others is no SPIFFE identity; without a SPIFFE id it may name its holder."""
    with pytest.raises(Unauthenticated) as caught:
        certificate_from_pem(made(uris=[SPIFFE], authority=True))
    assert caught.value.code == "spiffe_id_invalid"
    assert certificate_from_pem(made(uris=[SPIFFE], authority=False)).uris == (SPIFFE,)
    assert identify(cn="self-signed", authority=True).id == "cn:self-signed"


def test_trust_domains():
    """With trust domains only SPIFFE ids of these count, and no other name does."""
    authenticator = MtlsAuthenticator(trust_domains=["shop.example"])
    assert identify(authenticator, uris=[SPIFFE]).id == SPIFFE
    for names in ({"uris": ["spiffe://shop.example.evil/orders"]}, {"dns": ["shop.example"]}, {"cn": SPIFFE}):
        with pytest.raises(Unauthenticated) as caught:
            identify(authenticator, **names)
        assert caught.value.code == "wrong_trust_domain"
    with pytest.raises(InvalidArgument):
        MtlsAuthenticator(trust_domains=["spiffe://shop.example"])


def test_scopes():
    """Scopes come from the id itself, else from the longest prefix, else from the default."""
    authenticator = MtlsAuthenticator(
        scopes={
            SPIFFE: ["orders:write"],
            "spiffe://shop.example/*": ["orders:read"],
            "spiffe://shop.example/ns/*": ["ns"],
        },
        default_scopes=["hello"],
    )
    scopes = {
        uri: identify(authenticator, uris=[uri]).scopes
        for uri in (SPIFFE, f"{SPIFFE}/2", "spiffe://shop.example/ns/2", "spiffe://shop.example.evil/ns/2")
    }
    assert list(scopes.values()) == [{"orders:write"}, {"orders:read"}, {"ns"}, {"hello"}]
    assert identify(MtlsAuthenticator(), cn="x").scopes == frozenset()
    assert identify(MtlsAuthenticator(scopes={"*": ["all"]}), cn="x").scopes == {"all"}


def test_a_prefix_ends_at_a_slash():
    """A prefix which would also match names that only begin alike is refused."""
    with pytest.raises(InvalidArgument) as caught:
        MtlsAuthenticator(scopes={"spiffe://shop.example*": ["x"]})
    assert caught.value.code == "invalid_certificate_scopes"


def test_scopes_as_a_setting():
    """Scopes of certificates are read from entries, and what cannot be read is refused with its number."""
    assert parse_certificate_scopes([f"{SPIFFE}=orders:read | orders:write", "dns:a=*"]) == {
        SPIFFE: ("orders:read", "orders:write"),
        "dns:a": ("*",),
    }
    for entries in (["x=a", "nothing"], ["x=a", "y="], ["x=a", "x=b"], ["x=a", "=b"]):
        with pytest.raises(InvalidArgument, match="entry 2"):
            parse_certificate_scopes(entries)


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://shop.example",
        "spiffe://shop.example/a",
        "spiffe://shop_1.example-2/A.b/_c-9/...",
        f"spiffe://{'d' * 255}/a",
    ],
)
def test_spiffe_ids(text):
    """Every id the specification allows is read, and written the same again."""
    assert str(SpiffeId.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://shop.example/a",
        "spiffe:/shop.example/a",
        "spiffe:///a",
        "spiffe://Shop.example/a",
        "spiffe://shop.example:8443/a",
        "spiffe://user@shop.example/a",
        "spiffe://shöp.example/a",
        "spiffe://shop.example/",
        "spiffe://shop.example/a/",
        "spiffe://shop.example//a",
        "spiffe://shop.example/./a",
        "spiffe://shop.example/a/../b",
        "spiffe://shop.example/a%2fb",
        "spiffe://shop.example/a?b",
        "spiffe://shop.example/a#b",
        "spiffe://shop.example/a b",
        "spiffe://shop.example/a\n",
        f"spiffe://{'d' * 256}/a",
        f"spiffe://shop.example/{'a' * 2048}",
    ],
)
def test_no_spiffe_ids(text):
    """What the specification does not allow in an id is refused."""
    with pytest.raises(ValueError, match=r"^(it|its|the segments) "):
        SpiffeId.parse(text)


@given(st.text(max_size=60).map(lambda text: f"spiffe://{text}"))
def test_spiffe_ids_are_total(text):
    """Any text is either an id that is written the same again, or a ValueError."""
    try:
        found = SpiffeId.parse(text)
    except ValueError:
        return
    assert str(found) == text


def test_without_cryptography(monkeypatch):
    """Without the package that reads certificates the fault names the extra, when the process starts."""
    monkeypatch.setattr(certificates, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=lambda _name: None)))
    with pytest.raises(FailedPrecondition) as caught:
        MtlsAuthenticator()
    assert caught.value.code == "extra_missing"
    assert "headgate[tls]" in caught.value.hint


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (bytes.fromhex("a003020102"), bytes.fromhex("a003020105")),
        (b"\x81\x0ba@shop.test", b"\xa3\x0ba@shop.test"),
    ],
)
def test_odd_certificates_are_unreadable(found, wanted):
    """An unknown version or kind of name makes a certificate unreadable, and breaks no call."""
    der = x509.load_pem_x509_certificate(made(cn="a", emails=["a@shop.test"])).public_bytes(Encoding.DER)
    assert found in der
    odd = der.replace(found, wanted)
    with pytest.raises(Unauthenticated) as refused:
        certificate_from_der(odd)
    assert refused.value.code == "certificate_malformed"
    pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(odd) + b"-----END CERTIFICATE-----\n"
    assert certificate_of_peer({"x509_pem_cert": [pem]}) is UNREADABLE
