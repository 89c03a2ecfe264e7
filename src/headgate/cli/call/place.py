"""Where a call goes: the instance, its wire, and what its contract says of the method.

    place = await find("orders/Place", address="", registry="file:///...", wire="")
    place.method, place.path, place.address

An instance publishes its contract at `/contract.json`; without it the path is what the caller says.

    InvalidArgument
    └── invalid_target      no SERVICE/METHOD
    NotFound
    └── no_such_service     the instance serves others
    Unimplemented
    └── no_such_method      the contract has no such method
    FailedPrecondition
    └── contract_unknown    the instance tells no contract, and the name is not in full
    Unavailable
    ├── no_instances        the registry knows none that serves it over the wire
    └── unreachable         nobody listens at the address
"""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from headgate.cli.options import state_directory
from headgate.kit.controls.faults import FailedPrecondition, InvalidArgument, NotFound, Unavailable, Unimplemented
from headgate.service.method import Kind, Method, Options
from headgate.service.registry.instance import Instance

DEFAULT_ADDRESS: Final = "http://127.0.0.1:8080"
WIRES: Final = ("http", "grpc", "socket", "nats")
CONTRACTS: Final = "/contract.json"
LARGEST: Final = 16 * 1024 * 1024

_SECONDS: Final = 5.0
_ALIASES: Final = {"ws": "socket", "websocket": "socket"}
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Place:
    """One method at one instance. `known` says that a contract was found; without one the path is a guess.

    What is no record travels over gRPC wrapped in a message: `wraps_request` and `wraps_response` say so.
    """

    service: str
    method: Method
    path: str
    wire: str
    address: str
    known: bool
    wraps_request: bool = False
    wraps_response: bool = False


def registry_here() -> str:
    """The URL of the registry of the `headgate run` of this directory, or of one above it; "" without one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / state_directory() / "run" / "services.json"
        if file.exists():
            return f"file://{file}"
    return ""


async def find(target: str, *, address: str, registry: str, wire: str) -> Place:
    """The place that a target means. Raises the faults of the module, and those of the registry."""
    service, separator, name = target.rpartition("/")
    service = service.lstrip("/")
    if not separator or not service or not name or "/" in service:
        raise InvalidArgument(
            f"'{target[:200]}' is no SERVICE/METHOD", code="invalid_target", hint="such as orders/Place"
        )
    if not address and registry:
        address, base = await _discovered(service, registry, wire)
    else:
        address = address or DEFAULT_ADDRESS
        base = http_base(address)
    taken = wire or wire_of(address)
    documents = await contracts_at(base, needed=taken in ("http", "socket")) if base else []
    return _place(service, name, documents, taken, address if taken != "socket" else _socket(address))


async def contracts_at(base: str, *, needed: bool = True) -> list[dict[str, Any]]:
    """The documents an instance publishes; none when it keeps them to itself.

    Raises Unavailable (`unreachable`) when nobody is there, unless the call goes another way.
    """
    import httpx

    try:
        async with httpx.AsyncClient(timeout=_SECONDS, trust_env=False) as client:
            answer = await client.get(base.rstrip("/") + CONTRACTS)
            told = answer.json() if answer.status_code == _OK and len(answer.content) <= LARGEST else {}
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        if not needed:
            return []
        hint = "is `headgate run` running in this directory? else say where, with --address or --registry"
        raise Unavailable(f"{base} cannot be reached", code="unreachable", hint=hint, internal=str(error)) from error
    except (httpx.HTTPError, json.JSONDecodeError, UnicodeDecodeError):
        return []
    listed = told.get("contracts", ()) if isinstance(told, dict) else ()
    return [each["document"] for each in listed if isinstance(each, dict) and isinstance(each.get("document"), dict)]


def wire_of(address: str) -> str:
    """The wire of an address, by its scheme. Raises InvalidArgument."""
    from headgate.service.client.wires.choose import chosen

    return chosen(address, None)


def http_base(address: str) -> str:
    """Where contracts are asked for: the same host and port over HTTP; "" for wires that share none with it."""
    parts = urlsplit(address)
    if parts.scheme in ("http", "https"):
        return address
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme)
    return f"{scheme}://{parts.netloc}" if scheme else ""


def apart(service: str) -> tuple[str, str]:
    """What is before the title, and the title: `shop.orders.Orders`; a name, or a package, has no capitals."""
    head, _, last = service.rpartition(".")
    return (head, last) if head and last[:1].isupper() else (service, "")


def package_of(service: str) -> str:
    """The package of protocol buffers in the paths of a service."""
    return service.replace("-", "_")


def _socket(address: str) -> str:
    """The address of the WebSocket at an HTTP address."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https"):
        return address
    return f"ws{'s' if parts.scheme == 'https' else ''}://{parts.netloc}/rpc"


async def _discovered(service: str, registry: str, wire: str) -> tuple[str, str]:
    """Address of an instance on the wire, and where its contract is."""
    import secrets

    from headgate.service.registry import registry_from

    name, _ = apart(service)
    async with registry_from(registry) as opened:
        snapshot = await opened.get(name)
        known = sorted(await opened.services()) if not snapshot.instances else []
        meant = next((each for each in known if package_of(each) == package_of(name)), None)
        if meant is not None:
            name, snapshot = meant, await opened.get(meant)
    wanted = (wire,) if wire else WIRES
    fitting = [(each, _on(each, wanted)) for each in snapshot.instances if _on(each, wanted)]
    if not fitting:
        near = difflib.get_close_matches(name, known, n=1)
        over = f" over {wire}" if snapshot.instances else ""
        raise Unavailable(
            f"nobody serves {name}{over}",
            code="no_instances",
            hint=f"did you mean {near[0]}?" if near else f"known are: {', '.join(known) or 'none'}",
        )
    instance, address = secrets.SystemRandom().choice(fitting)
    return address, _on(instance, ("http",))


def _on(instance: Instance, wires: tuple[str, ...]) -> str:
    found = {_ALIASES.get(name, name): address for name, address in instance.endpoints.items()}
    for wire in wires:
        if wire in found:
            address = found[wire]
            return f"grpc://{address}" if wire == "grpc" and "://" not in address else address
    return ""


def _place(service: str, name: str, documents: list[dict[str, Any]], wire: str, address: str) -> Place:
    known_as, title = apart(service)
    package = package_of(known_as)
    for each in documents:
        if package_of(each["service"]) == package:
            told, path = _told(each, name), f"/{package}.{each['title']}"
            wraps = [not _is_record(told.get(key), each.get("schemas", {})) for key in ("request", "response")]
            return Place(each["service"], _method(told), f"{path}/{told['name']}", wire, address, True, *wraps)
    if documents:
        raise NotFound(
            f"there is no service '{service}' at {address}",
            code="no_such_service",
            hint=f"there are: {', '.join(each['service'] for each in documents)}",
        )
    if not title and wire in ("http", "socket"):
        raise FailedPrecondition(
            f"{address} tells no contract, so what {service} is called there is not known",
            code="contract_unknown",
            hint=f"name it in full, such as {package}.{_camel(known_as)}/{_camel(name)}, "
            "or let it tell its contract (the setting docs_public)",
        )
    guessed = {"name": name if title else _camel(name), "kind": "unary", "response": {}}
    path = f"/{package}.{title or _camel(known_as)}/{guessed['name']}"
    return Place(known_as.replace("_", "-") if title else known_as, _method(guessed), path, wire, address, False)


def _told(document: dict[str, Any], name: str) -> dict[str, Any]:
    methods: list[dict[str, Any]] = document["methods"]
    for each in methods:
        if name == each["name"] or _plain(name) == _plain(each["name"]):
            return each
    names = [each["name"] for each in methods]
    near = difflib.get_close_matches(_camel(name), names, n=1)
    raise Unimplemented(
        f"{document['service']} has no method '{name}'",
        code="no_such_method",
        hint=f"did you mean {near[0]}?" if near else f"it has: {', '.join(names)}",
    )


def _is_record(schema: Any, named: dict[str, Any]) -> bool:
    """Whether values are objects whose fields are known."""
    while isinstance(schema, dict) and "$ref" in schema:
        schema = named.get(schema["$ref"].rpartition("/")[2])
    return isinstance(schema, dict) and "properties" in schema


def _method(told: dict[str, Any]) -> Method:
    """A method whose messages are plain objects."""
    name = told["name"]
    response = None if told.get("response") is None else Any
    bound = Options(idempotent=bool(told.get("idempotent")))
    return Method(name, name, Kind(told["kind"]), Any, response, _nothing, bound)


def _nothing() -> None:
    """Stands where a method's own function would."""


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[-_.]", name))
