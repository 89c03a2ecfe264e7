"""Metadata and peers, between gRPC's forms and a call's.

gRPC has text, and bytes under names that end in `-bin`; a call has bytes throughout, like HTTP.
Source: "Custom-Metadata" in the gRPC over HTTP/2 protocol; the naming document for addresses.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.")
_PRINTABLE: Final = frozenset(range(0x20, 0x7F))
_RESERVED: Final = ("grpc-", ":")
_BINARY: Final = "-bin"
_REMEMBERED: Final = 1_024
_names: dict[bytes, str] = {}


def to_headers(metadata: Iterable[tuple[str, str | bytes]]) -> list[tuple[bytes, bytes]]:
    """Metadata as the bytes a call holds. The bytes of a `-bin` value stay as they are."""
    return [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in metadata]


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> Metadata:
    """Headers as metadata. What gRPC could not send is left out, for it would end the call instead."""
    found: list[tuple[str, str | bytes]] = []
    for raw, value in headers:
        name = _names.get(raw)
        if name is None:
            name = _remember(raw)
        if not name:
            continue
        if name.endswith(_BINARY):
            found.append((name, value))
        elif value.isascii() and (text := value.decode("ascii")).isprintable():
            found.append((name, text))
    return tuple(found)


def _remember(raw: bytes) -> str:
    """The name of a header as metadata, "" when it cannot be one. Names come from code: there are few."""
    text = raw.decode("latin-1").lower()
    name = text if text and _NAME.issuperset(text) and not text.startswith(_RESERVED) else ""
    if len(_names) < _REMEMBERED:
        _names[raw] = name
    return name


def own_metadata(metadata: Any) -> Metadata:
    """Whatever a handler gave for metadata, as a tuple of pairs.

    Raises ValueError for what gRPC could not send: it would find out when the handler is done, and the caller would
    wait for an answer that never comes.
    """
    found = tuple((name, value) for name, value in metadata or ())
    for name, value in found:
        if not isinstance(name, str) or not name or not _NAME.issuperset(name):
            raise ValueError(f"{name!r} is no name of metadata: lower-case letters, digits, '-', '_' and '.'")
        if name.endswith(_BINARY):
            if not isinstance(value, bytes):
                raise ValueError(f"metadata {name} takes bytes, for its name ends in {_BINARY}")
        elif not _PRINTABLE.issuperset(value.encode("utf-8", "replace") if isinstance(value, str) else value):
            raise ValueError(f"metadata {name} takes printable ASCII; bytes go under a name that ends in {_BINARY}")
    return found


@lru_cache(1_024)
def host_of_peer(peer: str) -> str:
    """The address in `ipv4:1.2.3.4:5`, `ipv6:[::1]:5` (also percent-encoded); "" for `unix:` and all else."""
    kind, _, address = peer.partition(":")
    if kind == "ipv4":
        return address.rpartition(":")[0]
    if kind == "ipv6":
        host = unquote(address).rpartition(":")[0]
        return host.strip("[]").partition("%")[0]
    return ""


def value_of(headers: Sequence[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The last value of a header; None without one."""
    return next((value for key, value in reversed(headers) if key == name), None)
