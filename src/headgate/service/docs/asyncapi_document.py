"""AsyncAPI 3.0: topics and subscriptions, methods over NATS, streams, and calls over one WebSocket.

    asyncapi([Orders.contract()], title="Shop", servers={"nats": "nats://127.0.0.1:4222", "socket": "ws://..."})

Operations are told from the service's side: it receives requests and events, and replies. Wildcards of a pattern
become parameters of the channel's address, as NATS's own bindings have no place for them.

Source: AsyncAPI 3.0.0.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from headgate.kit.controls.faults import InvalidArgument
from headgate.service.docs.described import Described, Listens, Operation, Source, describe
from headgate.service.docs.problems import PROBLEM, problem_schemas, schema_name
from headgate.service.docs.schemas import Pool, Schema

VERSION: Final = "3.0.0"
SOCKET: Final = "/ws"
SUBPROTOCOLS: Final = ("headgate.v1+json", "headgate.v1+msgpack")
OPERATIONS: Final = ("call", "next", "end", "error", "cancel", "credit", "ping", "pong", "goaway")

_PROBLEM_REF: Final = "#/components/schemas/Problem"


def asyncapi(
    contracts: Iterable[Source],
    *,
    title: str = "",
    version: str = "",
    servers: Mapping[str, str] | None = None,
    description: str = "",
    socket: str = SOCKET,
) -> dict[str, Any]:
    """The document, made of plain objects in a stable order.

    `servers` are URLs by the names they have in the document; those of `ws` and `wss` serve the socket, which is at
    the path `socket`, all others everything else. Raises InvalidArgument (`invalid_contract`, `invalid_server`).
    """
    services = describe(contracts)
    pool = Pool([_with_problems(service) for service in services], bare_discriminators=True)
    known = {name: _server(name, url) for name, url in (servers or {}).items()}
    writer = _Writer(pool, known)
    for service in services:
        for operation in service.operations:
            writer.method(service, operation)
        for listens in service.subscriptions:
            writer.subscription(service, listens)
    if any(service.operations for service in services):
        writer.socket(socket, [service for service in services if service.operations])
    return {
        "asyncapi": VERSION,
        "info": {
            "title": title or ", ".join(service.title for service in services) or "Services",
            "version": version or next((service.version for service in services), "0"),
            **({"description": description} if description else {}),
            "tags": [{"name": service.title} for service in services],
        },
        "defaultContentType": "application/json",
        **({"servers": known} if known else {}),
        "channels": writer.channels,
        "operations": writer.operations,
        "components": {"schemas": {**pool.components, "Problem": PROBLEM}, "messages": writer.messages},
    }


def subject_of(service: Described, operation: Operation) -> str:
    """Where a method is called over NATS."""
    return f"svc.{service.name}.{operation.name}"


def _with_problems(service: Described) -> Described:
    return replace(service, schemas={**service.schemas, **problem_schemas(service, _PROBLEM_REF)})


def _server(name: str, url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        raise InvalidArgument(f"'{url}' is no URL of server '{name}'", code="invalid_server", hint="nats://host:4222")
    return {
        "host": parts.netloc.rpartition("@")[2],
        "protocol": parts.scheme,
        **({"pathname": parts.path} if parts.path else {}),
    }


class _Writer:
    """Gathers channels, operations and messages."""

    def __init__(self, pool: Pool, servers: Mapping[str, Mapping[str, Any]]) -> None:
        self._pool = pool
        sockets = [name for name, each in servers.items() if each["protocol"] in {"ws", "wss"}]
        self._sockets = [{"$ref": f"#/servers/{name}"} for name in sockets]
        self._others = [{"$ref": f"#/servers/{name}"} for name in servers if name not in sockets]
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}

    def method(self, service: Described, operation: Operation) -> None:
        """A method: requests come on its subject, replies go where each request says."""
        key = f"{service.full_name}.{operation.name}"
        request = self._message(f"{key}.Request", service, operation.request, operation.examples)
        replies = [self._fault_message(service, operation)]
        if operation.response is not None or operation.kind.streams_out:
            replies.insert(0, self._message(f"{key}.Response", service, operation.response or {"type": "null"}))
        self.channels[key] = self._channel(subject_of(service, operation), [request])
        self.channels[f"{key}.Reply"] = self._channel(None, replies)
        self.operations[key] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{key}"},
            **_texts(operation.title, operation.description),
            "tags": [{"name": service.title}, *({"name": tag} for tag in operation.tags)],
            "messages": [{"$ref": f"#/channels/{key}/messages/{request}"}],
            "reply": {
                "address": {"location": "$message.header#/reply", "description": "The subject the request names."},
                "channel": {"$ref": f"#/channels/{key}.Reply"},
                "messages": [{"$ref": f"#/channels/{key}.Reply/messages/{each}"} for each in replies],
            },
            "x-headgate-kind": operation.kind.value,
            **({"x-headgate-guard": dict(operation.guard)} if operation.guard is not None else {}),
        }

    def subscription(self, service: Described, listens: Listens) -> None:
        """A subscription: the service receives what is published; what failed too often goes on."""
        key = f"{service.full_name}.{listens.name}"
        message = self._message(f"{key}.Event", service, listens.event)
        address, parameters = _address(listens.subject)
        self.channels[key] = {**self._channel(address, [message]), **parameters}
        binding = {"bindings": {"nats": {"queue": listens.group}}} if listens.group else {}
        self.operations[key] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{key}"},
            **_texts("", listens.description),
            "tags": [{"name": service.title}],
            "messages": [{"$ref": f"#/channels/{key}/messages/{message}"}],
            **binding,
            "x-headgate-retries": listens.retries,
        }
        if listens.dead_letter:
            dead = f"{key}.Dead"
            self.channels[dead] = {**self._channel(f"{address}.dead", [message]), **parameters}
            self.operations[dead] = {
                "action": "send",
                "channel": {"$ref": f"#/channels/{dead}"},
                "summary": "Events that could not be handled.",
                "messages": [{"$ref": f"#/channels/{dead}/messages/{message}"}],
            }

    def socket(self, path: str, services: Iterable[Described]) -> None:
        """The one channel on which any method can be called over a WebSocket."""
        called = {operation.path: operation for service in services for operation in service.operations}
        self.messages["Frame"] = {"title": "Frame", "payload": _frame(list(called))}
        self.channels["socket"] = {
            **self._channel(path, ["Frame"], self._sockets),
            "description": f"Many calls at once; subprotocol {' or '.join(SUBPROTOCOLS)}.",
            "bindings": {"ws": {"method": "GET"}},
        }
        for action in ("receive", "send"):
            self.operations[f"socket.{action}"] = {
                "action": action,
                "channel": {"$ref": "#/channels/socket"},
                "messages": [{"$ref": "#/channels/socket/messages/Frame"}],
            }

    def _channel(
        self, address: str | None, messages: Iterable[str], servers: list[dict[str, str]] | None = None
    ) -> dict[str, Any]:
        servers = self._others if servers is None else servers
        return {
            "address": address,
            **({"servers": servers} if servers else {}),
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        }

    def _message(self, name: str, service: Described, schema: Schema, examples: Iterable[Any] = ()) -> str:
        payload = self._pool.placed(service.full_name, schema)
        told = [{"payload": each} for each in examples if isinstance(each, Mapping)]
        self.messages[name] = {"name": name, "payload": payload, **({"examples": told} if told else {})}
        return name

    def _fault_message(self, service: Described, operation: Operation) -> str:
        declared = [{"$ref": f"#/schemas/{schema_name(fault.code)}"} for fault in operation.faults]
        placed = [self._pool.placed(service.full_name, each) for each in declared]
        name = f"{service.full_name}.{operation.name}.Fault"
        payload = {"anyOf": [*placed, {"$ref": _PROBLEM_REF}]} if placed else {"$ref": _PROBLEM_REF}
        self.messages[name] = {"name": name, "title": "Fault", "payload": payload}
        return name


def _texts(summary: str, description: str) -> dict[str, str]:
    texts = {"summary": summary or description.partition("\n")[0], "description": description}
    return {name: text for name, text in texts.items() if text}


def _address(pattern: str) -> tuple[str, dict[str, Any]]:
    """A subject's pattern as an address, and its parameters."""
    words, parameters = [], {}
    for position, word in enumerate(pattern.split("."), 1):
        if word in {"*", ">"}:
            name = f"word{position}" if word == "*" else "rest"
            told = "Any one word." if word == "*" else "One word or more, joined by dots."
            parameters[name] = {"description": told}
            words.append(f"{{{name}}}")
        else:
            words.append(word)
    return ".".join(words), ({"parameters": parameters} if parameters else {})


def _frame(paths: list[str]) -> dict[str, Any]:
    """The schema of what is said on a socket."""
    return {
        "type": "object",
        "properties": {
            "op": {"enum": list(OPERATIONS)},
            "id": {"type": "integer", "minimum": 0, "description": "Which call it is of; the caller chooses."},
            "path": {"enum": paths, "description": "With `call`: the method."},
            "headers": {"type": "object", "additionalProperties": {"type": "string"}},
            "timeout_ms": {"type": "integer", "minimum": 0, "description": "With `call`: how long its caller waits."},
            "stream": {"type": "boolean", "description": "With `call`: the requests follow."},
            "n": {"type": "integer", "minimum": 0, "description": "How many more messages of a stream may be sent."},
            "data": {"description": "A message of the method; with `error` a problem."},
        },
        "required": ["op"],
    }
