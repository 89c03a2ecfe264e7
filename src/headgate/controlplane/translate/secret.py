"""Secrets as SDS hands them out. Source: envoy.extensions.transport_sockets.tls.v3.Secret."""

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret as EnvoySecret

from headgate.controlplane.model.secret import Secret
from headgate.controlplane.translate.wire import Shape, envoy_name


def secret(team: str, name: str, spec: Secret) -> EnvoySecret:
    """Translate a secret."""
    if spec.tls_certificate:
        certificate: Shape = {
            "certificate_chain": {"inline_string": spec.tls_certificate.certificate_chain},
            "private_key": {"inline_string": spec.tls_certificate.private_key},
        }
        return EnvoySecret(name=envoy_name(team, name), tls_certificate=certificate)
    return authorities(team, name, spec.trusted_ca or "")


def authorities(team: str, name: str, pem: str) -> EnvoySecret:
    """Return a secret with authorities to trust."""
    return EnvoySecret(name=envoy_name(team, name), validation_context={"trusted_ca": {"inline_string": pem}})
