"""Client certificates: what is read of one, and whom it proves.

    call.certificate = certificate_from_pem(pem)       # what the TLS layer verified; shells do this
    MtlsAuthenticator(trust_domains=["shop.example"], scopes={"spiffe://shop.example/orders": ["orders:write"]})

A principal's id is the SPIFFE id, else `dns:` and the first DNS name, else `cn:` and the common name: an
issuer that may hand out the one kind cannot pass for the other. Nothing is verified here: a certificate that
reaches a call was verified by the TLS layer against the authorities it was given.

    Unauthenticated
    ├── certificate_malformed   it cannot be read
    ├── certificate_unnamed     it holds nothing that names anybody
    ├── spiffe_id_invalid       its SPIFFE id breaks the rules, or it is not a leaf with exactly one
    └── wrong_trust_domain      it comes from a trust domain that is not served here

Source: RFC 5280; SPIFFE-ID and X509-SVID of the SPIFFE standard.
"""

import binascii
import importlib.util
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Self

from headgate.kit.controls.call import Call
from headgate.kit.controls.faults import FailedPrecondition, Fault, InvalidArgument, Unauthenticated
from headgate.kit.controls.principal import Certificate, Principal

if TYPE_CHECKING:
    from cryptography import x509

SPIFFE: Final = "spiffe://"
CACHED: Final = 1_024
"""Certificates, and their principals, that are remembered; the oldest is forgotten first."""

UNREADABLE: Final = Certificate(subject="unreadable")
"""Stands for a certificate that was shown and cannot be read: whoever asks for identities refuses it."""

_LONGEST_PEM: Final = 64 * 1024
_ARMOUR: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]*)-----END CERTIFICATE-----")
_LONGEST_ID: Final = 2_048
_LONGEST_TRUST_DOMAIN: Final = 255
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]+")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """`spiffe://TRUST_DOMAIN/PATH`; `path` is "" or starts with a slash."""

    trust_domain: str
    path: str = ""

    def __str__(self) -> str:
        return f"{SPIFFE}{self.trust_domain}{self.path}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an id. Raises ValueError, saying which rule of the SPIFFE-ID specification it breaks."""
        if not text.startswith(SPIFFE):
            raise ValueError("it must start with spiffe://")
        if len(text) > _LONGEST_ID:
            raise ValueError(f"it is longer than {_LONGEST_ID} bytes")
        trust_domain, slash, path = text[len(SPIFFE) :].partition("/")
        if not is_trust_domain(trust_domain):
            raise ValueError("its trust domain must be 1 to 255 lower-case letters, digits and '._-'")
        segments = path.split("/") if slash else ()
        if any(each in {"", ".", ".."} or not _SEGMENT.fullmatch(each) for each in segments):
            raise ValueError("the segments of its path must be letters, digits and '._-', none of them empty or dots")
        return cls(trust_domain, slash + path)


def is_trust_domain(text: str) -> bool:
    """Whether `text` may be the name of a trust domain."""
    return len(text) <= _LONGEST_TRUST_DOMAIN and _TRUST_DOMAIN.fullmatch(text) is not None


def certificate_from_pem(pem: str | bytes) -> Certificate:
    """The first certificate of a PEM text, remembered. Raises Unauthenticated (`certificate_malformed`)."""
    return _read_pem(pem if isinstance(pem, bytes) else pem.encode("utf-8", "replace"))


def certificate_from_der(der: bytes) -> Certificate:
    """The certificate in DER, remembered. Raises Unauthenticated (`certificate_malformed`)."""
    return _read_der(der)


def certificate_of_scope(scope: Mapping[str, Any]) -> Certificate | None:
    """The client certificate in an ASGI scope (TLS extension), None without a verified one. Never raises."""
    tls = (scope.get("extensions") or {}).get("tls")
    if not tls or tls.get("client_cert_error"):
        return None
    chain = tls.get("client_cert_chain")
    return _or_unreadable(next(iter(chain))) if chain else None


def certificate_of_peer(auth_context: Mapping[str, Iterable[bytes]]) -> Certificate | None:
    """The client certificate in the `auth_context()` of a gRPC call; None without TLS or without one. Never raises."""
    for pem in auth_context.get("x509_pem_cert", ()):
        return _or_unreadable(pem)
    return None


def _or_unreadable(pem: str | bytes) -> Certificate:
    try:
        return certificate_from_pem(pem)
    except Fault:
        return UNREADABLE


@lru_cache(maxsize=CACHED)
def _read_pem(pem: bytes) -> Certificate:
    found = _ARMOUR.search(pem) if len(pem) <= _LONGEST_PEM else None
    if found is None:
        raise _malformed("it holds no PEM certificate")
    try:
        return _read_der(binascii.a2b_base64(b"".join(found[1].split()), strict_mode=True))
    except binascii.Error:
        raise _malformed("its PEM text is damaged") from None


@lru_cache(maxsize=CACHED)
def _read_der(der: bytes) -> Certificate:
    _need_cryptography()
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        parsed = x509.load_der_x509_certificate(der)
        common_names = parsed.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        names = _alternative_names(parsed)
        authority = _is_authority(parsed)
        certificate = Certificate(
            subject=parsed.subject.rfc4514_string(),
            common_name=str(common_names[0].value) if common_names else "",
            dns_names=tuple(names.get_values_for_type(x509.DNSName)) if names else (),
            uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)) if names else (),
            emails=tuple(names.get_values_for_type(x509.RFC822Name)) if names else (),
            fingerprint=parsed.fingerprint(SHA256()).hex(),
        )
    except Exception as error:  # noqa: BLE001 - odd versions, names and extensions each have errors of their own
        raise _malformed("it is no X.509 certificate", internal=str(error)) from None
    if authority and any(_is_spiffe(uri) for uri in certificate.uris):
        raise _not_spiffe("a certificate that signs others cannot speak for a workload")
    return certificate


def _need_cryptography() -> None:
    if importlib.util.find_spec("cryptography") is None:
        raise FailedPrecondition(
            "client certificates cannot be read without the package cryptography",
            code="extra_missing",
            hint="pip install 'headgate[tls]'",
        )


def _alternative_names(parsed: "x509.Certificate") -> "x509.SubjectAlternativeName | None":
    from cryptography import x509

    try:
        return parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _is_authority(parsed: "x509.Certificate") -> bool:
    from cryptography import x509

    try:
        return parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_spiffe(uri: str) -> bool:
    return uri[: len("spiffe:")].lower() == "spiffe:"


def _malformed(reason: str, *, internal: str = "") -> Unauthenticated:
    return Unauthenticated(
        f"the client certificate cannot be read: {reason}", code="certificate_malformed", internal=internal
    )


def _not_spiffe(reason: str) -> Unauthenticated:
    return Unauthenticated(f"the client certificate is no SPIFFE identity: {reason}", code="spiffe_id_invalid")


def parse_certificate_scopes(entries: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read entries such as `spiffe://shop.example/orders=orders:read|orders:write`.

    Raises InvalidArgument (`invalid_certificate_scopes`).
    """
    found: dict[str, tuple[str, ...]] = {}
    for position, entry in enumerate(entries, 1):
        name, equals, scopes = entry.strip().rpartition("=")
        listed = tuple(scope for part in scopes.split("|") if (scope := part.strip()))
        if not equals or not name.strip() or not listed or name.strip() in found:
            raise InvalidArgument(
                f"entry {position} of the scopes of certificates must be ID=SCOPE|SCOPE, each ID once",
                code="invalid_certificate_scopes",
                hint="such as spiffe://shop.example/orders=orders:read|orders:write, or dns:orders.internal=*",
            )
        found[name.strip()] = listed
    return found


class MtlsAuthenticator:
    """Makes a principal of the certificate that TLS verified.

    With `trust_domains` only SPIFFE ids of these are accepted. `scopes` are by id; one that ends in `/*` means
    all ids below, and `*` everybody; the most specific counts. Who is not named there holds `default_scopes`.

    Raises FailedPrecondition (`extra_missing`) without the package cryptography, InvalidArgument for a trust
    domain or a name that cannot be.
    """

    name = "mtls"
    challenge = "ClientCertificate"
    hint = "connect with a client certificate"

    def __init__(
        self,
        *,
        trust_domains: Iterable[str] = (),
        scopes: Mapping[str, Iterable[str]] | None = None,
        default_scopes: Iterable[str] = (),
        cache_size: int = CACHED,
    ) -> None:
        _need_cryptography()
        self._trust_domains = frozenset(trust_domains)
        for each in self._trust_domains:
            if not is_trust_domain(each):
                raise InvalidArgument(
                    f"'{each[:80]}' is no trust domain",
                    code="invalid_trust_domain",
                    hint="name it without spiffe:// and in lower case, such as shop.example",
                )
        self._scopes, self._below = _compiled(scopes or {})
        self._default = frozenset(default_scopes)
        self._known: dict[str, Principal] = {}
        self._most = cache_size

    def __call__(self, call: Call) -> Principal | None:
        """Whose certificate this is, None without one. Raises Unauthenticated."""
        certificate = call.certificate
        if certificate is None:
            return None
        principal = self._known.get(certificate.fingerprint)
        if principal is None:
            name = self.identify(certificate)
            principal = Principal(name, "mtls", self._scopes_of(name), extra=certificate)
            if certificate.fingerprint:
                if len(self._known) >= self._most:
                    self._known.pop(next(iter(self._known)), None)
                self._known[certificate.fingerprint] = principal
        return principal

    def identify(self, certificate: Certificate) -> str:
        """The id of the principal a certificate proves. Raises Unauthenticated."""
        if certificate is UNREADABLE:
            raise _malformed("it is no X.509 certificate of a workload")
        if any(_is_spiffe(uri) for uri in certificate.uris):
            return self._spiffe(certificate.uris)
        if self._trust_domains:
            raise _untrusted()
        for prefix, names in (("dns:", certificate.dns_names), ("cn:", (certificate.common_name,))):
            if names and names[0]:
                return prefix + _fit(names[0].lower() if prefix == "dns:" else names[0])
        raise Unauthenticated(
            "the client certificate names nobody",
            code="certificate_unnamed",
            hint="it needs a SPIFFE id, a DNS name or a common name",
        )

    def _spiffe(self, uris: Sequence[str]) -> str:
        if len(uris) != 1:
            raise _not_spiffe("it must hold exactly one URI")
        try:
            found = SpiffeId.parse(uris[0])
        except ValueError as error:
            raise _not_spiffe(str(error)) from None
        if not found.path:
            raise _not_spiffe("the id of a workload has a path")
        if self._trust_domains and found.trust_domain not in self._trust_domains:
            raise _untrusted()
        return uris[0]

    def _scopes_of(self, name: str) -> frozenset[str]:
        exact = self._scopes.get(name)
        if exact is not None:
            return exact
        return next((scopes for prefix, scopes in self._below if name.startswith(prefix)), self._default)


def _compiled(
    scopes: Mapping[str, Iterable[str]],
) -> tuple[dict[str, frozenset[str]], tuple[tuple[str, frozenset[str]], ...]]:
    exact = {name: frozenset(held) for name, held in scopes.items() if not name.endswith("*")}
    below = {name[:-1]: frozenset(held) for name, held in scopes.items() if name.endswith("*")}
    for prefix in below:
        if prefix and not prefix.endswith("/"):
            raise InvalidArgument(
                f"'{prefix[:200]}*' would also match names that only begin alike",
                code="invalid_certificate_scopes",
                hint=f"write '{prefix[:200]}/*' for all ids below, or name each",
            )
    return exact, tuple(sorted(below.items(), key=lambda item: -len(item[0])))


def _fit(name: str) -> str:
    """`name`, if a log line may hold it. Whoever signs certificates need not write what we expect."""
    if len(name) > _LONGEST_TRUST_DOMAIN or not name.isprintable():
        raise Unauthenticated(
            "the name in the client certificate is too long or not printable", code="certificate_unnamed"
        )
    return name


def _untrusted() -> Unauthenticated:
    return Unauthenticated("the client certificate is not of a trust domain served here", code="wrong_trust_domain")
