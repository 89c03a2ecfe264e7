"""Instances as Consul keeps them: one definition to register, one entry of `/v1/health/service` to read.

Metadata stays readable: a pair whose name Consul takes is a pair there; others, and the longest, are packed into
`headgate-more-0`, `headgate-more-1`, ... Entries that others registered are read too: their address and port become
the endpoint of one wire. Source: Consul's HTTP API, "Service - Agent" and "Health".
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from headgate.kit.controls.faults import InvalidArgument, Violation
from headgate.service.registry.instance import Instance

_OURS: Final = "headgate-"
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_LONGEST: Final = 512
_MOST: Final = 64
_FIRST_WIRES: Final = ("http", "grpc", "socket", "ws")
_WIRES: Final = "wires"
"""Consul sorts its pairs: their order, which says what is called first, is one of its own."""


def definition(instance: Instance, tags: tuple[str, ...], check: Mapping[str, Any]) -> dict[str, Any]:
    """The body of `PUT /v1/agent/service/register`. Raises InvalidArgument when Consul cannot keep it."""
    host, port = _address(instance)
    version = [f"version={instance.version}"] if instance.version else []
    return {
        "ID": instance.id,
        "Name": instance.service,
        "Tags": [*version, *tags],
        "Meta": _meta(instance),
        "Address": host,
        **({"Port": port} if port else {}),
        "Weights": {"Passing": max(1, round(instance.weight)), "Warning": 1},
        "Check": dict(check),
    }


def instance_of(entry: Mapping[str, Any], service: str, wire: str) -> Instance | None:
    """The instance of an entry; None when it cannot be told of. `wire` is whose port it is if nothing else says."""
    node, found = entry.get("Node") or {}, entry.get("Service") or {}
    meta = {str(name): str(value) for name, value in (found.get("Meta") or {}).items()}
    ours = {name.removeprefix(_OURS): meta.pop(name) for name in list(meta) if name.startswith(_OURS)}
    try:
        return Instance(
            # Ids of others are those of an agent, not of all.
            id=str(found.get("ID") or "") if ours else f"{node.get('Node')}/{found.get('ID')}",
            service=service,
            version=ours.get("version") or _tagged(found.get("Tags")) or meta.get("version", ""),
            endpoints=_endpoints(ours) or _endpoint(node, found, wire),
            zone=ours.get("zone") or str((node.get("Meta") or {}).get("zone") or ""),
            weight=_number(ours.get("weight"), (found.get("Weights") or {}).get("Passing", 1)),
            metadata={**meta, **_more(ours)},
            contract=ours.get("contract", ""),
            started=_number(ours.get("started"), 0.0),
        )
    except (InvalidArgument, msgspec.ValidationError, ValueError, TypeError, AttributeError):
        return None


def versions_of(tags: list[str]) -> tuple[str, ...]:
    """The versions that tags tell of."""
    return tuple(sorted({tag.removeprefix("version=") for tag in tags if tag.startswith("version=")})) or ("",)


def _meta(instance: Instance) -> dict[str, str]:
    meta = {f"{_OURS}wire-{wire}": address for wire, address in instance.endpoints.items()}
    if len(instance.endpoints) > 1:
        meta[f"{_OURS}{_WIRES}"] = ",".join(instance.endpoints)[:_LONGEST]
    texts = {"version": instance.version, "zone": instance.zone, "contract": instance.contract}
    meta |= {f"{_OURS}{name}": text for name, text in texts.items() if text}
    if instance.weight != 1.0:
        meta[f"{_OURS}weight"] = repr(instance.weight)
    if instance.started:
        meta[f"{_OURS}started"] = repr(instance.started)
    plain = {name: value for name, value in instance.metadata.items() if _plain(name, value)}
    odd = {name: value for name, value in instance.metadata.items() if name not in plain}
    packed = json.dumps(odd, separators=(",", ":")) if odd else ""
    chunks = [packed[start : start + _LONGEST] for start in range(0, len(packed), _LONGEST)]
    meta |= plain | {f"{_OURS}more-{index}": chunk for index, chunk in enumerate(chunks)}
    if len(meta) > _MOST:
        raise InvalidArgument(
            f"Consul keeps {_MOST} pairs for an instance, '{instance.id}' has {len(meta)}",
            code="invalid_instance",
            violations=[Violation("/metadata", f"{len(meta)} pairs are too many", "fewer or shorter metadata")],
        )
    return meta


def _plain(name: str, value: str) -> bool:
    fits = len(value.encode()) <= _LONGEST and not name.lower().startswith(_OURS)
    return fits and _NAME.fullmatch(name) is not None


def _more(ours: Mapping[str, str]) -> dict[str, str]:
    chunks = sorted((int(name.removeprefix("more-")), text) for name, text in ours.items() if name.startswith("more-"))
    packed = "".join(text for _, text in chunks)
    return {str(name): str(value) for name, value in json.loads(packed).items()} if packed else {}


def _endpoints(ours: Mapping[str, str]) -> dict[str, str]:
    told = {name.removeprefix("wire-"): address for name, address in ours.items() if name.startswith("wire-")}
    order = ours.get(_WIRES, "").split(",")
    return dict(sorted(told.items(), key=lambda each: order.index(each[0]) if each[0] in order else len(order)))


def _endpoint(node: Mapping[str, Any], found: Mapping[str, Any], wire: str) -> dict[str, str]:
    host = str(found.get("Address") or node.get("Address") or "")
    if not host:
        return {}
    host = f"[{host}]" if ":" in host else host
    port = found.get("Port") or 0
    at = f"{host}:{port}" if port else host
    return {wire: address(wire, at)}


def address(wire: str, at: str, *, secure: bool = False) -> str:
    """How `host:port` is written for a wire: as a URL for HTTP and WebSockets."""
    scheme = {"http": "http", "socket": "ws", "ws": "ws"}.get(wire)
    return at if scheme is None else f"{scheme}{'s' if secure else ''}://{at}"


def _address(instance: Instance) -> tuple[str, int]:
    """Host and port of the wire that others would call first; "" and 0 when it has none of that kind."""
    wires = [wire for wire in _FIRST_WIRES if wire in instance.endpoints]
    if not wires:
        return "", 0
    told = instance.endpoints[wires[0]]
    parts = urlsplit(told if "//" in told else f"//{told}")
    try:
        return parts.hostname or "", parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    except ValueError as error:
        pointer = f"/endpoints/{wires[0]}"
        raise InvalidArgument(
            f"'{told}' has no port that is one", code="invalid_instance", violations=[Violation(pointer, str(error))]
        ) from error


def _tagged(tags: Any) -> str:
    return versions_of([str(tag) for tag in tags or ()])[0]


def _number(told: Any, otherwise: Any) -> float:
    return float(otherwise if told is None else told)
