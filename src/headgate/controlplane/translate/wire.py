"""The small shapes all resources share: names, durations, addresses, packed messages, references over ADS.

A shape is a nested dict in proto form, given to a generated class's constructor.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from headgate.controlplane.model.base import HeaderChanges, is_ip
from headgate.controlplane.translate.resource import TYPE_PREFIX

Shape = dict[str, Any]

ADS: Mapping[str, Any] = {"ads": {}, "resource_api_version": "V3"}
"""A config source: the stream this resource came over."""

SYSTEM_CA = "_system-ca"
"""Name of the built-in secret with the public authorities; no user's secret can have it."""


def envoy_name(team: str, name: str) -> str:
    """Return the name a resource has in Envoy."""
    return f"{team}/{name}"


def encode(message: Message) -> bytes:
    """Serialise, always to the same bytes."""
    return message.SerializeToString(deterministic=True)


def packed(message: Message) -> AnyMessage:
    """Return the message as an Any."""
    return AnyMessage(type_url=TYPE_PREFIX + message.DESCRIPTOR.full_name, value=encode(message))


def extension(name: str, message: Message) -> Shape:
    """Return a typed extension."""
    return {"name": name, "typed_config": packed(message)}


def duration(milliseconds: int) -> Shape:
    """Return a google.protobuf.Duration."""
    seconds, rest = divmod(milliseconds, 1000)
    return {"seconds": seconds, "nanos": rest * 1_000_000}


def value(number: float | bool) -> Shape:
    """Return a google.protobuf wrapper."""
    return {"value": number}


def address(host: str, port: int) -> Shape:
    """Return an envoy.config.core.v3.Address of a TCP socket."""
    return {"socket_address": {"address": host, "port_value": port}}


def sds(team: str, secret: str) -> Shape:
    """Return an SdsSecretConfig that fetches a secret of the team over ADS."""
    return {"name": envoy_name(team, secret), "sds_config": ADS}


def header_changes(prefix: str, changes: HeaderChanges) -> Shape:
    """Return the `{prefix}_headers_to_add` and `_to_remove` fields."""
    shape: Shape = {}
    if changes.set:
        shape[f"{prefix}_headers_to_add"] = [
            header_value(option.name, option.value, option.action) for option in changes.set
        ]
    if changes.remove:
        shape[f"{prefix}_headers_to_remove"] = list(changes.remove)
    return shape


_APPEND_ACTIONS = {
    "overwrite": "OVERWRITE_IF_EXISTS_OR_ADD",
    "append": "APPEND_IF_EXISTS_OR_ADD",
    "add_if_absent": "ADD_IF_ABSENT",
}


def header_value(name: str, text: str, action: str = "overwrite") -> Shape:
    """Return an envoy.config.core.v3.HeaderValueOption."""
    return {
        "header": {"key": name, "value": text},
        "append_action": _APPEND_ACTIONS[action],
        "keep_empty_value": not text,
    }


def host_in_url(host: str) -> str:
    """Return a host as it stands in a URL or a Host header: an IPv6 address in brackets."""
    return f"[{ip_address(host)}]" if is_ip(host) and ":" in host else host


def wire_path(path: str) -> str:
    """Return a path as clients send it: characters beyond ASCII percent-encoded, everything else as it is."""
    return path if path.isascii() else "".join(c if c.isascii() else quote(c) for c in path)
