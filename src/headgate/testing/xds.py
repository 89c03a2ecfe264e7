"""An xDS client for tests: real gRPC streams, both modes, aggregated or one service per type.

It does nothing on its own, so that a test says what the client says: no subscription, no ACK and no NACK
is sent unless asked for. What the server sends is kept per type, in order, and `silence` and `barrier` tell
"nothing yet" from "nothing to come".
"""

__all__ = ["Answer", "Mode", "XdsClient"]


class Mode:
    """How a client speaks: state of the world or delta, on one aggregated stream or on one per type."""


class Answer:
    """One response of the server, decoded."""


class XdsClient:
    """One dataplane, as far as the protocol is concerned."""
