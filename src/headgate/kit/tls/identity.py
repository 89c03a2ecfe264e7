"""What a connection's TLS says of the peer, as the ASGI TLS extension has it.

    scope["extensions"]["tls"] = tls_extension(ssl_object)
    {"server_cert": PEM, "client_cert_chain": [PEM, ...], "client_cert_name": "CN=worker,O=Shop",
     "client_cert_error": None, "tls_version": 0x0304, "cipher_suite": 0x1302}

The chain holds what was verified against the client authorities; it is empty when no certificate was shown.
Python tells the whole chain from 3.13 on, the client's own certificate before.
Source: https://asgi.readthedocs.io/en/latest/specs/tls.html; RFC 4514 for the name.
"""

import ssl
from typing import Any, Final

from headgate.kit.tls.files import ServerContext

_VERSIONS: Final = {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
_SHORT: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}
_ESCAPED: Final = frozenset('"+,;<>\\')


def tls_extension(connection: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any]:
    """The value of `scope["extensions"]["tls"]` for a connection whose handshake is done."""
    cipher = connection.cipher()
    context = connection.context if isinstance(connection.context, ServerContext) else None
    subject: Any = (connection.getpeercert() or {}).get("subject", ())
    return {
        "server_cert": context.server_certificate if context else None,
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der) for der in _chain(connection)],
        "client_cert_name": distinguished_name(subject) or None,
        "client_cert_error": None,
        "tls_version": _VERSIONS.get(connection.version() or ""),
        "cipher_suite": context.cipher_suites.get(cipher[0]) if context and cipher else None,
    }


def distinguished_name(subject: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """A subject as `ssl` gives it, in RFC 4514's text: most specific part first."""
    return ",".join(
        "+".join(f"{_SHORT.get(key, key)}={_escaped(value)}" for key, value in part) for part in reversed(subject)
    )


def _chain(connection: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    leaf = connection.getpeercert(binary_form=True)
    if leaf is None:
        return []
    verified = getattr(connection, "get_verified_chain", None)
    return list(verified()) if verified is not None else [leaf]


def _escaped(value: str) -> str:
    text = "".join(f"\\{letter}" if letter in _ESCAPED else letter for letter in value).replace("\0", "\\00")
    if text.startswith(("#", " ")):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and len(text) > 1 else text
