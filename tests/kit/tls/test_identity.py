"""What the application is told of a connection's TLS."""

import ssl

from cryptography import x509

from headgate.kit.tls.files import load
from headgate.kit.tls.identity import distinguished_name, tls_extension
from tests.kit.tls.conftest import connecting, handshake


def test_a_client_with_a_certificate(folder):
    """The extension holds the verified certificate, its name, and what was agreed on."""
    server = load(folder.files(clients=True)).context([])
    client = connecting(folder, ("spiffe://shop.example/orders",), common_name="orders")
    told = tls_extension(handshake(server, client).server)
    shown = x509.load_pem_x509_certificate(told["client_cert_chain"][0].encode())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://shop.example/orders"]
    assert told["client_cert_name"] == "CN=orders"
    assert told["server_cert"] == folder.certificate.read_text()
    assert told["tls_version"] == 0x0304
    assert told["cipher_suite"] in {0x1301, 0x1302, 0x1303}
    assert told["client_cert_error"] is None


def test_a_client_without_one(folder):
    """A client that shows none has an empty chain and no name."""
    server = load(folder.files(clients=True, required=False)).context([])
    told = tls_extension(handshake(server, connecting(folder)).server)
    assert (told["client_cert_chain"], told["client_cert_name"]) == ([], None)


def test_an_older_version(folder):
    """TLS 1.2 is told as such, with the number of its cipher suite."""
    client = connecting(folder)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    told = tls_extension(handshake(load(folder.files()).context([]), client).server)
    assert told["tls_version"] == 0x0303
    assert told["cipher_suite"] in {0xC02B, 0xC02C, 0xCCA9}


def test_names_as_text():
    """A distinguished name is written most specific part first, with what is special escaped (RFC 4514)."""
    subject = (
        (("countryName", "DE"),),
        (("organizationName", "Shop, Inc."),),
        (("organizationalUnitName", "a"), ("userId", "7")),
        (("commonName", " #x "),),
    )
    assert distinguished_name(subject) == "CN=\\ #x\\ ,OU=a+UID=7,O=Shop\\, Inc.,C=DE"
