"""TLS for gRPC, with certificates that rotate.

    certificates = Certificates(TlsFiles(...))
    server.add_secure_port("127.0.0.1:50051", server_credentials(certificates))

gRPC asks for the configuration before every handshake, so a rotation takes effect with the next connection.
The peer's names are in `context.auth_context()`; gRPC speaks TLS 1.2 and newer.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument
from headgate.kit.tls.rotation import Certificates

if TYPE_CHECKING:
    import grpc


def server_credentials(certificates: Certificates) -> "grpc.ServerCredentials":
    """Credentials that follow `certificates`. With client authorities a client must show a certificate.

    Raises FailedPrecondition (`extra_missing`), and InvalidArgument (`client_certificate_not_optional`): gRPC's
    Python server either asks for a certificate that it verifies, or for none.
    """
    files = certificates.files
    if files.client_ca is not None and not files.client_required:
        raise InvalidArgument(
            "gRPC cannot leave it to clients whether to show a certificate",
            code="client_certificate_not_optional",
            hint="require client certificates, or give no client authorities",
        )
    try:
        import grpc
    except ImportError as error:
        raise FailedPrecondition(
            "gRPC needs the package grpcio", code="extra_missing", hint="pip install 'headgate[grpc]'"
        ) from error
    following = _Following(certificates)
    return grpc.dynamic_ssl_server_credentials(
        following.configuration(),
        cast("Callable[[], grpc.ServerCertificateConfiguration]", following),  # None means no change: the stubs forgot
        require_client_authentication=files.client_ca is not None,
    )


class _Following:
    """Gives gRPC a configuration when there is a new one."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates
        self._given = certificates.loaded

    def __call__(self) -> "grpc.ServerCertificateConfiguration | None":
        """Asked before each handshake; None leaves all as it is."""
        return None if self._certificates.loaded is self._given else self.configuration()

    def configuration(self) -> "grpc.ServerCertificateConfiguration":
        """What is right now."""
        import grpc

        loaded = self._given = self._certificates.loaded
        return grpc.ssl_server_certificate_configuration(
            [(loaded.key, loaded.certificate)], root_certificates=loaded.client_ca
        )
