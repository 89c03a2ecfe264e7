"""The authenticators that settings ask for."""

import pytest

from headgate.kit.controls.faults import InvalidArgument
from headgate.kit.identity import authenticators
from tests.kit.identity.conftest import AUDIENCE, ISSUER

JWT = {"jwks_url": "https://issuer.example/jwks.json", "issuer": ISSUER, "audience": AUDIENCE}


class Own:
    """An authenticator of one's own."""

    name, challenge = "own", ""

    def __call__(self, call):
        """Know nobody."""


def names(**given):
    """The names of the authenticators, in their order."""
    return [each.name for each in authenticators(**given)]


def test_none():
    """What is not configured is not there."""
    assert names() == []
    assert names(api_keys=" , ") == []


def test_order():
    """Keys come first, one's own before tokens, the certificate of the connection last."""
    own = Own()
    assert names(api_keys="ci=12345678", certificates=True, more=[own], **JWT) == ["api_key", "own", "jwt", "mtls"]


@pytest.mark.parametrize("missing", ["issuer", "audience"])
def test_tokens_need_issuer_and_audience(missing):
    """Tokens without a required issuer and audience are refused at start."""
    with pytest.raises(InvalidArgument) as caught:
        names(**(JWT | {missing: ""}))
    assert missing in caught.value.message
