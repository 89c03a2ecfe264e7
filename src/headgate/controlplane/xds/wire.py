"""Discovery messages as bytes: requests parsed, responses put together from shared frames.

A resource is framed once for each mode and the frame is shared by every stream; a response is those
frames behind a few short fields. Source: envoy/service/discovery/v3/discovery.proto (field numbers).
"""

from typing import Any
from weakref import WeakKeyDictionary

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from headgate.controlplane.core.dataplane_state import Node
from headgate.controlplane.translate.resource import Resource
from headgate.controlplane.xds.messages import Request, Response

_LENGTH_DELIMITED = 2


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    """Encode one length-delimited protobuf field."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _text(number: int, content: str) -> bytes:
    return field(number, content.encode()) if content else b""


class Frames:
    """Framed resources, each made once and kept as long as the resource lives."""

    def __init__(self, identifier: str) -> None:
        """`identifier` goes into every response as `control_plane.identifier`."""
        self._control_plane = _text(1, identifier)
        self._sotw: WeakKeyDictionary[Resource, bytes] = WeakKeyDictionary()
        self._delta: WeakKeyDictionary[Resource, bytes] = WeakKeyDictionary()

    def encode(self, response: Response, *, delta: bool) -> bytes:
        """Encode a DiscoveryResponse or a DeltaDiscoveryResponse."""
        if delta:
            return b"".join(
                [
                    _text(1, response.version),
                    *[self._delta_frame(resource) for resource in response.resources],
                    _text(4, response.type_url),
                    _text(5, response.nonce),
                    *[_text(6, name) for name in response.removed],
                    field(7, self._control_plane),
                ]
            )
        return b"".join(
            [
                _text(1, response.version),
                *[self._sotw_frame(resource) for resource in response.resources],
                _text(4, response.type_url),
                _text(5, response.nonce),
                field(6, self._control_plane),
            ]
        )

    def _sotw_frame(self, resource: Resource) -> bytes:
        frame = self._sotw.get(resource)
        if frame is None:
            frame = self._sotw[resource] = field(2, _any(resource))
        return frame

    def _delta_frame(self, resource: Resource) -> bytes:
        frame = self._delta.get(resource)
        if frame is None:
            content = _text(1, resource.version) + field(2, _any(resource)) + _text(3, resource.name)
            frame = self._delta[resource] = field(2, content)
        return frame


def _any(resource: Resource) -> bytes:
    return _text(1, resource.type_url) + field(2, resource.body)


DEFAULT_TEAM = "default"


def node_of(message: Any) -> Node | None:
    """Read the node of a request message; None when it has none. Envoy's is 61 KB; what is not read here is let go.

    The metadata key `headgate` names the team (default: `default`), the scope (`team`, `all` or
    `allowlist`; default `team`) and, for `allowlist`, the listeners.
    """
    if not message.HasField("node"):
        return None
    node = message.node
    own = node.metadata.fields["headgate"].struct_value.fields if "headgate" in node.metadata.fields else {}
    listeners = own["listeners"].list_value.values if "listeners" in own else ()
    return Node(
        id=node.id,
        cluster=node.cluster,
        team=own["team"].string_value if "team" in own else DEFAULT_TEAM,
        scope=own["scope"].string_value if "scope" in own else "team",
        listeners=tuple(value.string_value for value in listeners),
        version=_version(node),
    )


def _version(node: Any) -> str:
    build = node.user_agent_build_version.version
    if node.HasField("user_agent_build_version"):
        return f"{node.user_agent_name} {build.major_number}.{build.minor_number}.{build.patch}".strip()
    return f"{node.user_agent_name} {node.user_agent_version}".strip()


def sotw_request(message: DiscoveryRequest, type_url: str) -> Request:
    """Turn a DiscoveryRequest into the protocol's form; `type_url` is for services that imply it."""
    return Request(
        type_url=message.type_url or type_url,
        nonce=message.response_nonce,
        error=_error(message),
        version=message.version_info,
        names=tuple(message.resource_names),
    )


def delta_request(message: DeltaDiscoveryRequest, type_url: str) -> Request:
    """Turn a DeltaDiscoveryRequest into the protocol's form; `type_url` is for services that imply it."""
    return Request(
        type_url=message.type_url or type_url,
        nonce=message.response_nonce,
        error=_error(message),
        subscribe=tuple(message.resource_names_subscribe),
        unsubscribe=tuple(message.resource_names_unsubscribe),
        initial_versions=dict(message.initial_resource_versions),
    )


def _error(message: Any) -> str | None:
    if not message.HasField("error_detail"):
        return None
    return message.error_detail.message or f"code {message.error_detail.code}"
