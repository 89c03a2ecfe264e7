"""Secret: a certificate with its key, or authorities to trust. Written, never read back in the clear.

Source of the meanings: envoy.extensions.transport_sockets.tls.v3.Secret.
"""

from typing import Annotated

from pydantic import Field, model_validator

from headgate.controlplane.model.base import Spec

Pem = Annotated[str, Field(min_length=1, max_length=1_048_576, pattern=r"^\s*-----BEGIN ")]


class TlsCertificate(Spec):
    """A certificate chain and its private key, in PEM."""

    certificate_chain: Pem
    private_key: Pem = Field(repr=False)
    """Never returned."""


class Secret(Spec):
    """Exactly one of tls_certificate and trusted_ca."""

    tls_certificate: TlsCertificate | None = None
    trusted_ca: Pem | None = None
    """Certificates of the authorities, in PEM."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Secret":
        if (self.tls_certificate is None) == (self.trusted_ca is None):
            raise ValueError("needs exactly one of tls_certificate and trusted_ca")
        return self
