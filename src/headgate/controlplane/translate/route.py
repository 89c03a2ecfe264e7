"""Routes, virtual hosts and route configs, each apart, so that one route can change alone.

A RouteConfiguration is the concatenation of its own encoding and the `frames` of its virtual hosts.
Source: envoy.config.route.v3.RouteConfiguration.
"""

import re
from collections.abc import Sequence

from envoy.config.route.v3.route_components_pb2 import Route as EnvoyRoute
from envoy.config.route.v3.route_components_pb2 import VirtualHost as EnvoyVirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration

from headgate.controlplane.model.route_config import Route, RouteConfig, VirtualHost
from headgate.controlplane.translate.action import LONGEST_BODY, retry_policy, route_action
from headgate.controlplane.translate.matching import route_match
from headgate.controlplane.translate.wire import Shape, envoy_name, header_changes, value

_ROUTES = EnvoyVirtualHost.DESCRIPTOR.fields_by_name["routes"].number
_VIRTUAL_HOSTS = RouteConfiguration.DESCRIPTOR.fields_by_name["virtual_hosts"].number
_PORT = re.compile(r":(\d+|\*)$")


def route(team: str, spec: Route) -> EnvoyRoute:
    """Translate one route."""
    shape: Shape = {
        "name": spec.name,
        "match": route_match(spec.match),
        **header_changes("request", spec.request_headers),
    }
    action = route_action(team, spec)
    response = header_changes("response", spec.response_headers)
    # What the user sets comes after what the action needs, and so wins.
    added = action.pop("response_headers_to_add", []) + response.pop("response_headers_to_add", [])
    return EnvoyRoute(**shape, **action, **response, response_headers_to_add=added)


def virtual_host(spec: VirtualHost) -> EnvoyVirtualHost:
    """Translate a virtual host without its routes."""
    shape: Shape = {
        "name": spec.name,
        "domains": spec.domains,
        "require_tls": {"none": "NONE", "external_only": "EXTERNAL_ONLY", "all": "ALL"}[spec.require_tls],
        **header_changes("request", spec.request_headers),
        **header_changes("response", spec.response_headers),
    }
    if spec.retry:
        shape["retry_policy"] = retry_policy(spec.retry)
    return EnvoyVirtualHost(**shape)


def route_config(team: str, name: str, spec: RouteConfig) -> RouteConfiguration:
    """Translate a route config without its virtual hosts."""
    ported = any(_PORT.search(domain) for host in spec.virtual_hosts for domain in host.domains)
    return RouteConfiguration(
        name=envoy_name(team, name),
        ignore_port_in_host_matching=not ported,
        most_specific_header_mutations_wins=True,
        max_direct_response_body_size_bytes=value(LONGEST_BODY),
        **header_changes("request", spec.request_headers),
        **header_changes("response", spec.response_headers),
    )


def framed_route(body: bytes) -> bytes:
    """Return an encoded route as it stands inside an encoded virtual host."""
    return _head(_ROUTES, len(body)) + body


def frames(host: bytes, routes: Sequence[bytes]) -> list[bytes]:
    """Return the pieces of an encoded virtual host as it stands inside an encoded RouteConfiguration.

    `host` is its own encoding without routes, `routes` are framed, in order. A message's encoding is the
    concatenation of its fields' encodings.
    """
    return [_head(_VIRTUAL_HOSTS, len(host) + sum(map(len, routes))), host, *routes]


def _head(field: int, length: int) -> bytes:
    return _varint(field << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 0x7F:
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    octets.append(number)
    return bytes(octets)
