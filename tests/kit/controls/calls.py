"""Calls for tests of controls, without a shell."""

from headgate.kit.controls.call import Call, Protocol


def call_of(
    path: str = "/orders",
    *,
    method: str = "GET",
    protocol: Protocol = "http",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    peer: str = "203.0.113.9",
    scheme: str = "http",
) -> Call:
    """A call as a shell would make it, with its header names in lower case."""
    pairs = headers.items() if isinstance(headers, dict) else headers or []
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs]
    call = Call(protocol, method, path, raw, peer, 100.0)
    call.scheme = scheme
    return call
