"""Certificates for a server and for dataplanes with a SPIFFE id."""

from pathlib import Path

import grpc

from headgate.testing import certificates


class Authority(certificates.Authority):
    """Signs certificates; `pem` is its own."""

    def server_files(self, directory: Path) -> dict[str, Path]:
        """Write what a server on 127.0.0.1 needs; return it as settings."""
        certificate, key = self.issue("127.0.0.1").write(directory, "server")
        authority = self.write(directory / "ca.pem")
        return {"xds_tls_certificate": certificate, "xds_tls_key": key, "xds_tls_client_ca": authority}

    def credentials(self, *uris: str) -> grpc.ChannelCredentials:
        """What a client whose certificate has these URIs connects with."""
        certificate, key = self.issue(*uris)
        return grpc.ssl_channel_credentials(self.pem, key, certificate)
