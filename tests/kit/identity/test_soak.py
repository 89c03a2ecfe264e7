"""However many strangers come, what is remembered of them does not grow."""

import gc
import sys

import pytest

from headgate.kit.controls.api_keys import ApiKeys
from headgate.kit.controls.call import Call
from headgate.kit.controls.certificates import MtlsAuthenticator
from headgate.kit.controls.identity import Identity
from headgate.kit.controls.principal import Certificate

KEY = "wLq3Vh8sTz0aYc5dNf7gJk2mPr4uXw6b"


@pytest.mark.soak
def test_memory_is_flat():
    """A million wrong keys and a million certificates leave memory where it was after the first ten thousand."""
    identity = Identity([ApiKeys.parse(f"ci={KEY}"), MtlsAuthenticator()])

    def strangers(start, stop):
        for number in range(start, stop):
            guess = Call("http", "GET", "/", [(b"x-api-key", b"%032d" % number)], "10.0.0.9", 0.0)
            identity.identify(guess)
            peer = Call("grpc", "POST", f"/s/{number}", [], "10.0.0.9", 0.0)
            peer.certificate = Certificate(common_name=f"c{number}", fingerprint=f"{number:064x}")
            identity.identify(peer)

    strangers(0, 10_000)
    gc.collect()
    before = sys.getallocatedblocks()
    strangers(10_000, 1_000_000)
    gc.collect()
    assert sys.getallocatedblocks() - before < 10_000
