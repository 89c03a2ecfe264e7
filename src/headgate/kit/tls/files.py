"""The PEM files of a TLS server: read, checked, made a context of.

    files = TlsFiles(Path("server.pem"), Path("server.key"), client_ca=Path("clients.pem"))
    loaded = load(files)                        # or the fault that says which file is wrong
    loaded.context(["h2", "http/1.1"])

Least is TLS 1.2 (RFC 8996), with forward-secret AEAD ciphers only, as HTTP/2 asks (RFC 9113, section 9.2).
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from headgate.kit.controls.faults import InvalidArgument

Stamp = tuple[tuple[int, int, int], ...]
"""Inode, size and time of change of each file, links followed."""

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_LEAST: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the certificate chain and its key are, PEM both.

    With `client_ca`, the authorities of client certificates, a client must show one, or may if not
    `client_required`. `least` is the oldest version spoken.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_required: bool = True
    least: Literal["1.2", "1.3"] = "1.2"

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files there are."""
        return (self.certificate, self.key, *((self.client_ca,) if self.client_ca else ()))

    def stamp(self) -> Stamp:
        """What changes when a file does. Raises OSError."""
        seen = [path.stat() for path in self.paths]
        return tuple((stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in seen)


class ServerContext(ssl.SSLContext):
    """A server's context that knows its own certificate, for those who are told of it."""

    server_certificate: str
    cipher_suites: dict[str, int]


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the files held, and fits together. Nothing of the key is shown."""

    files: TlsFiles
    stamp: Stamp
    certificate: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None

    def context(self, protocols: list[str]) -> ServerContext:
        """A context that offers `protocols` (ALPN). Made from the files, which must still be those that were read."""
        context = _context(self.files)
        context.set_alpn_protocols(protocols)
        return context


def load(files: TlsFiles) -> Loaded:
    """Read and check the files.

    Raises InvalidArgument: `tls_file_unreadable`, `tls_certificate_invalid` (no PEM, or the key belongs to another
    certificate), `tls_client_ca_invalid`, `tls_files_changing` (rewritten while they were read: try again).
    """
    try:
        stamp = files.stamp()
        contents = [path.read_bytes() for path in files.paths]
        _context(files)
        if stamp != files.stamp() or contents != [path.read_bytes() for path in files.paths]:
            raise InvalidArgument("the TLS files are being changed", code="tls_files_changing", hint="try again")
    except ssl.SSLError as error:
        # `_context` says itself which file it is; an SSLError is an OSError too.
        raise InvalidArgument(f"TLS cannot be set up: {error.reason}", code="tls_certificate_invalid") from error
    except OSError as error:
        raise InvalidArgument(
            f"a TLS file cannot be read: {error.filename}: {error.strerror}",
            code="tls_file_unreadable",
            hint="check the path, and that this user may read it",
        ) from error
    return Loaded(files, stamp, contents[0], contents[1], contents[2] if files.client_ca else None)


def _context(files: TlsFiles) -> ServerContext:
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = _LEAST[files.least]
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE | ssl.OP_NO_RENEGOTIATION
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except ssl.SSLError as error:
        raise InvalidArgument(
            f"{files.certificate} and {files.key} are no certificate and its key ({error.reason or 'not PEM'})",
            code="tls_certificate_invalid",
            hint="give a PEM certificate chain, the server's own first, and its PEM key without a password",
        ) from error
    if files.client_ca is not None:
        _ask_for_clients(context, files.client_ca, required=files.client_required)
    context.server_certificate = _first_certificate(files.certificate)
    context.cipher_suites = {suite["name"]: suite["id"] & 0xFFFF for suite in context.get_ciphers()}
    return context


def _ask_for_clients(context: ServerContext, authorities: Path, *, required: bool) -> None:
    try:
        context.load_verify_locations(authorities)
    except ssl.SSLError as error:
        raise InvalidArgument(
            f"{authorities} holds no certificate authority ({error.reason or 'not PEM'})",
            code="tls_client_ca_invalid",
            hint="give the PEM certificates of the authorities that sign client certificates",
        ) from error
    context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    # A session that is resumed is not verified again: it would outlive the authority that vouched for it.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0


def _no_password() -> str:
    """Refuse rather than ask on the terminal, which OpenSSL would do."""
    return ""


def _first_certificate(path: Path) -> str:
    text = path.read_text(encoding="ascii", errors="replace")
    start, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return start + text.partition(start)[2].partition(end)[0] + end + "\n"
